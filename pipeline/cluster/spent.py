"""What a worker's calls took, and what came of them: measured in the worker, told to the run's `Meter`."""

import contextlib
import os
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import ray

from actors.contract import SAMPLE_RATE
from pipeline.cluster.keeper import Kept
from pipeline.schema import SKIP


class Worker(NamedTuple):
    """A process that works for a stage."""

    stage: str
    node_id: str
    pid: int


@dataclass
class Spent:
    """What one or several calls of a worker took, and what came of them."""

    calls: int = 0
    busy_s: float = 0.0
    resample_s: float = 0.0  # part of busy_s, of readers
    samples: int = 0  # at 24 kHz, of chunks that came through
    recordings: int = 0  # that left the stage whole, or were skipped
    failed: int = 0  # that left it as failures, of this stage or of one before
    failures: Counter[str] = field(default_factory=Counter)  # of this stage, by the name of their error
    peak_memory_mb: float = 0.0  # of a worker
    peak_device_mb: float | None = None  # what torch held at most on a worker's device

    def see(self, rows: pa.Table, stage: str, busy_s: float) -> None:
        """Count rows that leave `stage` after a call of `busy_s`."""
        skipped = pc.fill_null(pc.equal(rows["stage"], SKIP), False)
        failed = pc.and_not(rows["stage"].is_valid(), skipped)
        ended = pc.fill_null(pc.equal(pc.add(rows["chunk"], 1), rows["chunks"]), False)
        here = pc.fill_null(pc.equal(rows["stage"], stage), False)
        self.calls += 1
        self.busy_s += busy_s
        self.samples += pc.sum(rows["num_samples"]).as_py() or 0
        self.recordings += pc.sum(pc.or_(pc.and_not(ended, failed), skipped)).as_py() or 0
        self.failed += pc.sum(failed).as_py() or 0
        self.failures.update(rows["error"].filter(here).to_pylist())

    @property
    def audio_s(self) -> float:
        """Seconds of audio."""
        return self.samples / SAMPLE_RATE

    def add(self, other: "Spent") -> None:
        """Sums, and the higher peaks."""
        for name in ("calls", "busy_s", "resample_s", "samples", "recordings", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures.update(other.failures)
        self.peak_memory_mb = max(self.peak_memory_mb, other.peak_memory_mb)
        devices = [peak for peak in (self.peak_device_mb, other.peak_device_mb) if peak is not None]
        self.peak_device_mb = max(devices, default=None)


def tell(meter: Kept, stage: str, spent: Spent) -> None:
    """Tell the meter what this process spent on `stage`; does not wait."""
    spent.peak_memory_mb, spent.peak_device_mb = _peak_memory_mb(), _peak_device_mb()
    meter.tell("add", Worker(stage, ray.get_runtime_context().get_node_id(), os.getpid()), spent)


def this_node() -> tuple[str, str]:
    """This worker's node: a name for people, which two nodes of one machine do not share, and Ray's."""
    node_id = ray.get_runtime_context().get_node_id()
    return f"{platform.node()} ({node_id[:8]})", node_id


def timed(
    call: Callable[..., pa.Table], meter: Kept, stage: str, rows: pa.Table, *given: Any, **named: Any
) -> pa.Table:
    """`call(rows, ...)`, of which the meter is told as work of `stage`."""
    start = time.monotonic()
    result = call(rows, *given, **named)
    spent = Spent()
    spent.see(rows, stage, time.monotonic() - start)
    tell(meter, stage, spent)
    return result


def _peak_memory_mb() -> float:
    """The most that this process held. Linux: its own; elsewhere, and in gVisor, what the system says, in its unit."""
    with contextlib.suppress(OSError):
        _, found, rest = Path("/proc/self/status").read_text().partition("VmHWM:")
        if found:
            return float(rest.split()[0]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def _peak_device_mb() -> float | None:
    torch = sys.modules.get("torch")  # readers and writers have not imported it
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / 2**20
