"""Fabricated corpora of growing size -> seconds and memory of the driver, step by step, to be extrapolated.

    python -m tests.million [--recordings 250000 1000000] [--rows 2000] [--json FILE]

Everything is real (planning, the graph, the commit, the audit, the check) but what costs a corpus: readers make up a
frame of silence for each recording, and the codec answers at once. Each step is a process of its own; "mb" is what it
took at most beyond its imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ray import cloudpickle

from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE, frame_count
from pipeline import flow, tokenize
from pipeline.run.reader import open_run
from pipeline.schema import CHUNK_SCHEMA
from pipeline.verify.check import check

ROWS_A_TABLE = 256
"""Of a made-up reader."""
SETTINGS: dict[str, Any] = {
    "output.rows_per_part": 2048,
    "output.agreement_s": 0,
    "output.report": "false",
    "reconstruct": False,
    "model": "demo",
}


class InstantCodec:
    """An engine that answers at once."""

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """Waves float32 [T] -> zeros int16 [F, 16]."""
        return [np.zeros((frame_count(len(wave)), NUM_CODEBOOKS), np.int16) for wave in waves]


def made_up(task: Any, *, carried: pa.Schema, **_: Any) -> Iterator[pa.Table]:
    """A frame of silence for each recording of a read task, as `pipeline.read.read_chunks` would give it."""
    schema = pa.unify_schemas([CHUNK_SCHEMA, carried])
    for first in range(0, task.units.num_rows, ROWS_A_TABLE):
        units = task.units.slice(first, ROWS_A_TABLE)
        rows = units.num_rows
        offsets = pa.array(np.arange(rows + 1) * FRAME_SAMPLES, pa.int64())
        audio = pa.LargeListArray.from_arrays(offsets, pa.array(np.zeros(rows * FRAME_SAMPLES, np.float32)))
        known = {"id": units["@id"], "source": units["@location"], "chunk": 0, "chunks": 1, "first_frame": 0}
        known |= {"num_samples": FRAME_SAMPLES, "context_samples": 0, "source_rate": SAMPLE_RATE, "source_channels": 1}
        known |= {"audio": audio, **{name: units[name] for name in carried.names}}
        columns = [
            column.cast(field.type)
            if isinstance(column := known.get(field.name), pa.ChunkedArray | pa.Array)
            else pa.repeat(pa.scalar(column, field.type), rows)
            for field in schema
        ]
        yield pa.table(columns, schema=schema)


def manifest(path: Path, recordings: int) -> None:
    """A Parquet manifest of made-up recordings: paths of 60 characters, ids of 40."""
    kinds = pa.schema([("path", pa.string()), ("id", pa.string()), ("duration", pa.float64())])
    with pq.ParquetWriter(path, kinds) as writer:
        for first in range(0, recordings, 100_000):
            numbers = range(first, min(first + 100_000, recordings))
            paths = [f"/data/speech/{n % 997:03d}/{n * 2654435761 % 2**32:08x}-{n:012d}-{n:012d}.flac" for n in numbers]
            ids = [f"speech-{n * 2654435761 % 2**32:08x}-{n:012d}-{n % 100003:06d}" for n in numbers]
            writer.write_table(pa.table([paths, ids, [8.0 + n % 7 for n in numbers]], schema=kinds))


def plan_step(corpus: Path, out: Path) -> dict[str, Any]:
    """Find the inputs and divide them into read tasks."""
    from pipeline.sources.plan import plan

    found = plan([str(corpus)], task_bytes=64 << 20, parallelism=1)
    return {"tasks": len(found.tasks), "pickled_mb": round(sum(map(len, map(cloudpickle.dumps, found.tasks))) / 1e6, 1)}


def run_step(corpus: Path, out: Path, **settings: Any) -> dict[str, Any]:
    """The whole command; where all is committed, planning the rest and comparing."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    real = flow.load_codec, flow.read_chunks
    flow.load_codec, flow.read_chunks = (lambda spec: InstantCodec()), made_up  # type: ignore[assignment]
    try:
        run = tokenize(corpus, out, quiet=True, settings={**SETTINGS, **settings})
    finally:
        flow.load_codec, flow.read_chunks = real
    counts, last = run.summary()["counts"], run.summary()["attempts"][-1]
    return {"recordings": counts["recordings"], "graph_s": last["wall_s"], "parts": len(run.summary()["parts"])}


def again_step(corpus: Path, out: Path) -> dict[str, Any]:
    """The same command where a hundredth of the parts is lost, or one of a few."""
    parts = sorted((out / "codes").glob("part-*.parquet"))
    lost = 0
    for path in parts[::100]:
        lost += pq.read_metadata(path).num_rows
        path.unlink()
    return {"lost": lost, **run_step(corpus, out)}


def check_step(corpus: Path, out: Path) -> dict[str, Any]:
    """`voxmill check --inputs`."""
    return {"problems": len(check(out, [str(corpus)]).problems)}


def lookup_step(corpus: Path, out: Path) -> dict[str, Any]:
    """Open the run, and the codes of one recording."""
    run = open_run(out)
    index = run.index["id"]
    started = time.perf_counter()
    assert run[index[len(index) // 2].as_py()].codes.shape == (1, NUM_CODEBOOKS)
    return {"one_ms": round(1e3 * (time.perf_counter() - started), 1)}


STEPS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "plan": plan_step,
    "run": run_step,
    "rerun": run_step,
    "rerun, 1 % lost": again_step,
    "check": check_step,
    "lookup": lookup_step,
}


def memory_mb() -> float:
    """The most that this process held at once."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def step(name: str, corpus: Path, out: Path) -> None:
    """One step, in this process; prints its figures."""
    before_mb, started, cpu_s = memory_mb(), time.monotonic(), time.process_time()
    found = STEPS[name](corpus, out)
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_s
    figures = {"wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), "mb": round(memory_mb() - before_mb)}
    print(json.dumps(figures | found))


def measure(folder: Path, recordings: int, wanted: list[str]) -> dict[str, dict[str, Any]]:
    """All steps for a corpus of one size."""
    corpus = folder / f"{recordings}.parquet"
    manifest(corpus, recordings)
    found = {}
    for name in wanted:
        given = [sys.executable, "-m", "tests.million", "--step", name, str(corpus), str(folder / f"run-{recordings}")]
        shown = subprocess.run(given, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        found[name] = json.loads(shown.stdout.splitlines()[-1])
        print(f"{recordings:,} {name}: {json.dumps(found[name])}", flush=True)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, nargs="+", default=[62_500, 250_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    if given.step:
        step(given.step[0], Path(given.step[1]), Path(given.step[2]))
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    with tempfile.TemporaryDirectory(prefix="vx") as name:
        rows = {number: measure(Path(name), number, given.only) for number in given.recordings}
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
