"""Bundled clips through the stages of a run, one after the other in this process -> a `Measured`. No Ray.

`python -m pipeline.doctor.measure < trial.json` is a process of its own, as an actor is; it prints a JSON object.
"""

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileSystem

from actors.codec import Codec
from actors.contract import SAMPLE_RATE
from actors.pools.decode import DecodeCodes
from actors.pools.encode import EncodeChunks
from actors.pools.isolate import Ledger
from pipeline.doctor.cost import ALONE, Cost
from pipeline.doctor.disk import scratch
from pipeline.read import Reading, read_chunks
from pipeline.run.write import write_parts, write_parts_and_shards
from pipeline.run.write_waves import write_waves
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import divide

SHARES = {"read": 0.05, "encode": 0.3, "decode": 0.6, "write": 0.05}
"""Of the time: decoding takes ten times the work of encoding, and reading a hundredth."""
CALLS = 12
"""Timed at most, of which the median counts."""
CHUNK_SAMPLES = 300 * SAMPLE_RATE
"""Longer than any bundled clip: each is one chunk."""


@dataclass(frozen=True)
class Trial:
    """What is measured, and how."""

    clips: str
    out: str  # where the parts and WAVs of the trial are written, and deleted
    model: str
    device: str
    precision: str
    attention: str
    accelerate: str
    threads: dict[str, list[int | None]]  # of each pool that runs; None: PyTorch's number
    block_s: float  # audio in a call
    waves: str
    wave_format: str
    seconds: float
    spawned: float  # time.time() when the process of this trial was started

    def seconds_of(self, stage: str) -> float:
        """The part of `seconds` that `stage` has."""
        whole = sum(SHARES[one] for one in ("read", "write", *self.threads))
        return self.seconds * SHARES[stage] / whole


def measure(trial: Trial) -> dict[str, Any]:
    """`costs`, and `start_s` of an actor; of two pools, which start together, that of the slower one."""
    imported_s = time.time() - trial.spawned
    rows, costs = _read(trial)
    block, late_s = _block(rows, trial.block_s), [0.0]
    for part, counts in trial.threads.items():
        begun = time.perf_counter()
        pool = _pool(part, trial)
        loaded_s = time.perf_counter() - begun
        for threads in counts:
            cost, result, first_s = _calls(pool, part, block, threads, trial.seconds_of(part) / len(counts))
            costs.append(cost)
            late_s.append(loaded_s + first_s)
            if trial.device == "cpu" and cost.share < ALONE:
                break  # threads that wait for each other say nothing where others use the cores
        block = result
    costs.append(_write(trial, block))
    return {"start_s": imported_s + max(late_s), "costs": [asdict(one) for one in costs]}


def _pool(part: str, trial: Trial) -> Callable[[pa.Table], pa.Table]:
    """What an actor of the pool `part` calls."""
    chosen = (trial.model, trial.device, trial.precision, trial.attention)
    load = functools.partial(Codec.load, *chosen, accelerate=trial.accelerate, parts=part)
    if part == "encode":
        return EncodeChunks(load, Ledger(), keep_context="decode" in trial.threads)
    return DecodeCodes(load, Ledger())


def _calls(
    call: Callable[[pa.Table], pa.Table], stage: str, block: pa.Table, threads: int | None, seconds: float
) -> tuple[Cost, pa.Table, float]:
    """The cost of a pool's calls, rows as they come out of it, and by how much its first call was late."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    begun, one = time.perf_counter(), block.slice(0, 1)
    first = clocked(lambda: call(one))[0]
    again = clocked(lambda: call(one))[0]
    left = seconds - (time.perf_counter() - begun)
    some = _at_most(block, left / 3 / again)
    results: list[pa.Table] = []
    times = repeated(lambda: results.append(call(some)), left)
    cost = cost_of(stage, torch.get_num_threads(), times, audio_s(some))
    return cost, results[-1], max(0.0, first - again)


def _read(trial: Trial) -> tuple[list[pa.Table], list[Cost]]:
    plan = divide(discover_all([trial.clips]))
    how = Reading(CHUNK_SAMPLES, 0, False, 86_400.0)

    def read() -> list[pa.Table]:
        return [row for task in plan.tasks for row in read_chunks(task, how, plan.carried, {})]

    rows = [row for row in read() if row["audio"][0].is_valid]  # one clip is broken on purpose
    seconds = sum(map(audio_s, rows))
    return rows, [cost_of("read", 1, repeated(read, trial.seconds_of("read")), seconds)]


def _write(trial: Trial, block: pa.Table) -> Cost:
    """Parts and WAVs of a block's worth of rows such as in `block`, as the last stages write them."""
    block = _block([block.slice(row, 1) for row in range(len(block))], trial.block_s)
    with scratch(trial.out) as (fs, folder):
        write = _writer(trial, fs, folder)
        times = repeated(lambda: write(block), trial.seconds_of("write"))
    return cost_of("write", 1, times, audio_s(block))


def _writer(trial: Trial, fs: FileSystem, folder: str) -> Callable[[pa.Table], object]:
    if "decode" not in trial.threads:
        return lambda rows: write_parts(rows, fs, folder)
    if trial.waves == "tar":
        return lambda rows: write_parts_and_shards(rows, fs, folder, trial.wave_format, len(rows))
    return lambda rows: write_parts(write_waves(rows, fs, f"{folder}/wav", format=trial.wave_format), fs, folder)


def _block(rows: list[pa.Table], seconds: float) -> pa.Table:
    """`rows`, again and again under other ids, until they hold `seconds` of audio; all of them at least."""
    block: list[pa.Table] = []
    held = 0.0
    while held < seconds or len(block) < len(rows):
        row = rows[len(block) % len(rows)]
        name = f"{len(block)}/{row['id'][0].as_py()}"
        block.append(row.set_column(row.schema.get_field_index("id"), "id", pa.array([name], row["id"].type)))
        held += audio_s(row)
    return pa.concat_tables(block)


def _at_most(block: pa.Table, times: float) -> pa.Table:
    """The first rows, with at most `times` the audio of the very first one; that one at least."""
    held, most, number = 0.0, times * audio_s(block.slice(0, 1)), 0
    for number in range(len(block)):
        held += audio_s(block.slice(number, 1))
        if held > most:
            break
    else:
        number = len(block)
    return block.slice(0, max(1, number))


def audio_s(rows: pa.Table) -> float:
    """Seconds of audio that rows hold."""
    return sum(samples or 0 for samples in rows["num_samples"].to_pylist()) / SAMPLE_RATE


def clocked(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def repeated(call: Callable[[], object], seconds: float) -> list[tuple[float, float]]:
    """`clocked` calls, as many as fit; one at least. Without the first, which gets its memory, where there are more."""
    end, times = time.perf_counter() + seconds, [clocked(call)]
    while len(times) < CALLS and time.perf_counter() + times[-1][0] < end:
        times.append(clocked(call))
    return times[1:] or times


def cost_of(stage: str, threads: int, times: list[tuple[float, float]], seconds: float) -> Cost:
    """The median of `times` for a second of audio, where a call holds `seconds`."""
    wall, cpu = (statistics.median(column) / seconds for column in zip(*times, strict=True))
    return Cost(stage, threads, wall, cpu)


if __name__ == "__main__":
    print(json.dumps(measure(Trial(**json.load(sys.stdin)))))
