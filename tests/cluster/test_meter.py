"""Where a run's time went: seconds by stage, and a timeline of bounded length that loses nothing."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.cluster.meter import MAX_SLOTS, Meter
from pipeline.cluster.spent import Spent, Worker, _peak_memory_mb
from pipeline.run.run_json import save
from pipeline.schema import STAGES

HERE = [Worker("read", "a", 1), Worker("read", "b", 1), Worker("encode", "a", 2)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    return Meter("encode", clock)


def rows(*kinds: str) -> pa.Table:
    """Rows of a second each: "whole", the "first" or "last" of two chunks, failed in "read", left out by "skip"."""
    table = []
    for kind in kinds:
        failed = kind if kind in ("read", "skip") else None
        chunk, chunks = {"whole": (0, 1), "first": (0, 2), "last": (1, 2)}.get(kind, (None, None))
        error = {"read": "NotAudio", "skip": "Skipped"}.get(kind)
        samples = None if failed else 24_000
        table.append({"chunk": chunk, "chunks": chunks, "num_samples": samples, "stage": failed, "error": error})
    names = [("chunk", pa.int32()), ("chunks", pa.int32()), ("num_samples", pa.int64())]
    return pa.Table.from_pylist(table, pa.schema([*names, ("stage", pa.string()), ("error", pa.string())]))


def spent(stage: str, busy_s: float, *kinds: str) -> Spent:
    found = Spent()
    found.see(rows(*kinds), stage, busy_s)
    return found


def test_a_stage_adds_up(meter: Meter, clock: Clock) -> None:
    clock.now += 3
    meter.add(HERE[0], spent("read", 2.0, "whole", "first", "read"))
    clock.now += 4
    meter.add(HERE[1], Spent(calls=1, busy_s=1.0, resample_s=0.25, samples=12_000, peak_memory_mb=70))
    meter.add(HERE[0], Spent(calls=1, busy_s=1.5, resample_s=0.5, samples=12_000, peak_memory_mb=50))
    meter.add(HERE[2], spent("encode", 0.5, "whole"))
    stages = meter.record()["stages"]
    assert stages["read"] == {
        "workers": 2,
        "nodes": 2,
        "calls": 3,
        "busy_s": 4.5,
        "waited_s": 2.5,  # of the 4 s between the two times that the first worker was heard of
        "audio_s": 3.0,
        "peak_memory_mb": 70,
        "peak_device_mb": None,
        "resample_s": 0.75,
    }
    assert stages["encode"]["audio_s"] == 1.0
    assert list(stages) == ["read", "encode"]


def test_the_last_pool_counts_recordings(meter: Meter) -> None:
    meter.add(HERE[0], spent("read", 0, "whole", "whole"))
    assert meter.counts().recordings == 0
    meter.add(HERE[2], spent("encode", 0, "whole", "first", "read", "skip"))
    counts = meter.counts()
    assert (counts.recordings, counts.failures, counts.samples) == (2, 1, 48_000)
    meter.add(HERE[2], spent("encode", 0, "last"))
    assert meter.counts().recordings == 3


def test_failures_belong_to_the_stage_in_which_they_failed() -> None:
    assert spent("read", 0, "read", "whole", "skip").failures == {"NotAudio": 1}
    assert not spent("encode", 0, "read", "whole").failures


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_a_timeline_is_bounded_and_loses_nothing(meter: Meter, clock: Clock, scale: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(400):
        busy_s = float(random.exponential(scale))
        clock.now += busy_s + float(random.exponential(scale)) * (random.random() < 0.3)
        meter.add(HERE[0], Spent(calls=1, busy_s=busy_s, samples=int(random.integers(100_000))))
    found = meter.record()
    stage, timeline = found["stages"]["read"], found["timeline"]
    assert len(timeline["audio_s"]["read"]) == len(timeline["busy_s"]["read"]) <= MAX_SLOTS
    assert timeline["slot_s"] * len(timeline["busy_s"]["read"]) >= clock.now - 100 - timeline["slot_s"]
    assert sum(timeline["audio_s"]["read"]) == pytest.approx(stage["audio_s"], abs=0.1)
    assert sum(timeline["busy_s"]["read"]) == pytest.approx(stage["busy_s"], rel=1e-3, abs=0.1)
    assert max(timeline["busy_s"]["read"]) <= timeline["slot_s"] * 1.001  # one worker is never busy twice


def test_one_busy_worker_of_one_slot_is_in_it(meter: Meter, clock: Clock) -> None:
    clock.now += 5.5
    meter.add(HERE[0], Spent(busy_s=1.0))
    assert meter.record()["timeline"]["busy_s"]["read"] == [0, 0, 0, 0, 0.5, 0.5]


def test_what_waits_before_a_stage(meter: Meter) -> None:
    meter.add(HERE[0], spent("read", 0, "whole", "whole", "whole"))
    meter.add(HERE[2], spent("encode", 0, "whole"))
    assert meter.queued() == {"encode": 2.0}


def test_stages_follow_the_dataflow(meter: Meter) -> None:
    for stage in reversed(STAGES):
        meter.add(Worker(stage, "a", 1), Spent(calls=1))
    assert tuple(meter.record()["stages"]) == STAGES


def test_a_record_stays_readable(tmp_path: Path) -> None:
    record = {"attempts": [{"timeline": {"busy_s": {"read": [0.5, -1e-7, 3]}}}], "text": "[\n1,\n2\n]", "empty": []}
    save(LocalFileSystem(), str(tmp_path), record)
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text) == record
    assert '"read": [ 0.5, -1e-07, 3 ]' in text


def test_the_peak_memory_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _peak_memory_mb() > 50
    monkeypatch.setattr(Path, "read_text", lambda path: "Name:\tpython\nVmHWM:\t  1024 kB\n")
    assert _peak_memory_mb() == 1.0
    monkeypatch.setattr(Path, "read_text", lambda path: "Name:\tpython\n")  # gVisor's lacks it
    assert _peak_memory_mb() > 50
