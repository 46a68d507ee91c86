"""Simulated GPUs, a real Ray -> how the dataflow scales, and how many blocks a second its driver can move.

    python -m tests.scaling [--gpus 1 2 4 8] [--call-s 1.0] [--calls 30] [--json FILE]

Everything is real (planning, reading, the graph, the commit) but the codec: it sleeps as long as a GPU would work over
a block, and returns zeros. So any machine shows what the scheduler does. A call of the pool gets one block.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import soundfile
from ray import cloudpickle

from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE, frame_count
from pipeline import flow, tokenize
from pipeline.cluster.keeper import Kept, keep

BLOCK_S = 11.0
"""Audio of a block: scheduling costs the same for blocks of any size, and two cores must read for eight GPUs."""
CPUS_PER_GPU = 2


class Clock:
    """Start and end of every call of every actor."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, float]] = []

    def add(self, actor: str, begin: float, end: float) -> None:
        """One call, in seconds of the host's clock."""
        self.calls.append((actor, begin, end))

    def get(self) -> list[tuple[str, float, float]]:
        """All of them."""
        return self.calls


class SleepingCodec:
    """An engine whose every call takes `call_s`."""

    def __init__(self, call_s: float, clock: Any) -> None:
        self.call_s, self.clock = call_s, clock
        self.name = ray.get_runtime_context().get_actor_id()

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """Waves float32 [T] -> zeros int16 [F, 16]."""
        begin = time.monotonic()
        time.sleep(self.call_s)
        self.clock.tell("add", self.name, begin, time.monotonic())
        return [np.zeros((frame_count(len(wave)), NUM_CODEBOOKS), np.int16) for wave in waves]

    def decode(self, codes: list[np.ndarray], pcm16: bool = False) -> list[np.ndarray]:
        """Codes int16 [F, 16] -> zeros float32, or int16, [F * 1920]."""
        time.sleep(self.call_s)
        return [np.zeros(len(one) * FRAME_SAMPLES, np.int16 if pcm16 else np.float32) for one in codes]


def measure(folder: Path, gpus: int, call_s: float, calls: int, settings: dict[str, Any]) -> dict[str, float]:
    """One run over `calls` blocks a GPU."""
    with keep(clock=Clock) as kept:
        return _measured(folder, gpus, call_s, calls, settings, kept["clock"])


def _measured(
    folder: Path, gpus: int, call_s: float, calls: int, settings: dict[str, Any], clock: Kept
) -> dict[str, float]:
    real, flow.load_codec = flow.load_codec, functools.partial(_sleeping, call_s, clock)  # type: ignore[assignment]
    manifest = folder / f"{gpus}-{calls}.jsonl"
    rows = [json.dumps({"id": f"r{number}", "audio": str(folder / "clip.wav")}) for number in range(gpus * calls)]
    manifest.write_text("\n".join(rows))
    started, cpu_s = time.monotonic(), time.process_time()
    try:
        run = tokenize(
            manifest,
            folder / f"run-{gpus}-{call_s}",
            model="demo",
            device="cuda",
            quiet=True,
            settings=settings,
        )
    finally:
        flow.load_codec = real
    assert run.summary()["counts"]["recordings"] == len(rows)
    return figures(clock.ask("get"), gpus) | {
        "wall_s": time.monotonic() - started,
        "driver_s_per_block": (time.process_time() - cpu_s) / len(rows),
    }


def _sleeping(call_s: float, clock: Any, spec: Any) -> SleepingCodec:
    return SleepingCodec(call_s, clock)


def figures(calls: list[tuple[str, float, float]], gpus: int) -> dict[str, float]:
    """Blocks a second while the pool is full: from every actor's first call's end to the end of nine tenths of all."""
    firsts: dict[str, float] = {}
    for actor, _, end in calls:
        firsts[actor] = min(firsts.get(actor, end), end)
    ends = sorted(end for _, _, end in calls)
    full, last = max(firsts.values()), ends[round(len(ends) * 0.9) - 1]
    steady = sum(full < end <= last for end in ends)
    return {
        "actors": len(firsts),
        "seconds_to_full": full - min(begin for _, begin, _ in calls),
        "blocks_per_s": steady / (last - full) if last > full else float("nan"),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--call-s", type=float, default=1.0, help="what a GPU takes for a block")
    parser.add_argument("--calls", type=int, default=30, help="blocks a GPU")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as key=value")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    extra = dict(pair.split("=") for pair in given.set)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    rows = []
    for gpus in given.gpus:
        with tempfile.TemporaryDirectory(prefix="vx", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            wave = 0.1 * np.random.default_rng(0).standard_normal(round(BLOCK_S * SAMPLE_RATE))
            soundfile.write(folder / "clip.wav", wave, SAMPLE_RATE)
            block_mb = BLOCK_S * SAMPLE_RATE * 4 / 2**20
            settings = {"chunk.block_mb": block_mb, "input.task_mb": 4, "output.agreement_s": 0, "reconstruct": False}
            ray.init(
                address="local",
                num_cpus=CPUS_PER_GPU * gpus,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=2 << 30,
                _temp_dir=f"{name}/ray",
            )
            try:
                row = measure(folder, gpus, given.call_s, given.calls, settings | extra)
            finally:
                ray.shutdown()
        rows.append({"gpus": gpus, **row})
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


def table(rows: list[dict[str, float]]) -> str:
    """Markdown."""
    lines = [
        "| simulated GPUs | blocks a second | of n times the first | seconds to the full pool | driver, ms a block |",
        "|" + " --- |" * 5,
    ]
    alone = rows[0]["blocks_per_s"] / rows[0]["gpus"]
    for row in rows:
        share = row["blocks_per_s"] / row["gpus"] / alone
        lines.append(
            f"| {row['gpus']} | {row['blocks_per_s']:.2f} | {share:.0%} | {row['seconds_to_full']:.1f} | "
            f"{1000 * row['driver_s_per_block']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
