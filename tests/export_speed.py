"""Time and memory of exports of a fabricated run; run by hand.

python -m tests.export_speed 100000 FOLDER [FORMAT ...]    # recordings of 2 to 15 s, 1000 a part; a row a format
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from actors.pools.arrow import codes_array
from pipeline import export_run
from pipeline.export.formats import FORMATS
from pipeline.run.write import write_parts
from pipeline.schema import CODES_SCHEMA

ROWS_A_PART = 1000


def fabricate(folder: Path, recordings: int) -> None:
    """A run of random codes with transcripts."""
    random = np.random.default_rng(0)
    for first in range(0, recordings, ROWS_A_PART):
        write_parts(_rows(first, min(ROWS_A_PART, recordings - first), random), LocalFileSystem(), str(folder))


def _rows(first: int, count: int, random: np.random.Generator) -> pa.Table:
    frames = random.integers(25, 188, count)
    ids = [f"spk{(first + row) % 100}/utt{first + row:07d}.flac" for row in range(count)]
    values: dict[str, object] = {
        "id": ids,
        "source": [f"/corpus/{id_}" for id_ in ids],
        "num_frames": frames,
        "num_samples": frames * FRAME_SAMPLES,
        "duration_s": frames * FRAME_SAMPLES / SAMPLE_RATE,
        "codes": codes_array([random.integers(0, 2048, (number, 16)).astype(np.int16) for number in frames]),
        **{name: [value] * count for name, value in (("chunk", 0), ("chunks", 1), ("first_frame", 0))},
        **{name: [value] * count for name, value in (("source_rate", 16_000), ("source_channels", 1))},
    }
    columns = {
        field.name: pa.array(values[field.name], field.type) if field.name in values else pa.nulls(count, field.type)
        for field in CODES_SCHEMA
    }
    nothing = {name: pa.nulls(count, pa.string()) for name in ("stage", "error", "message")}
    text = pa.array([f"transcript number {first + row}" for row in range(count)])
    return pa.table({**columns, **nothing, "text": text})


def one(run: str, to: str, out: str) -> None:
    """Export and print seconds, MB by which the process grew, MB written."""
    before_mb = peak_mb()
    begin_s, begin_cpu_s = time.monotonic(), time.process_time()
    export_run(run, to, out, text="text")
    wall_s, cpu_s = time.monotonic() - begin_s, time.process_time() - begin_cpu_s
    size_mb = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file()) / 1e6
    print(f"| {to} | {wall_s:.0f} | {cpu_s:.0f} | {peak_mb() - before_mb:.0f} | {size_mb:,.0f} |", flush=True)


def peak_mb() -> float:
    """The most memory that this process had so far; getrusage would count its parent's, from before it was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(recordings: int, folder: Path, formats: list[str]) -> None:
    """Fabricate the run, then export it to every format, each in a process of its own."""
    if not (folder / "run").exists():
        fabricate(folder / "run", recordings)
    print("| format | seconds | CPU seconds | MB of memory | MB written |\n| --- | --- | --- | --- | --- |", flush=True)
    for to in formats or FORMATS:
        out = folder / "out"
        subprocess.run(
            [sys.executable, "-m", "tests.export_speed", "--one", str(folder / "run"), to, str(out)], check=True
        )
        shutil.rmtree(out)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(*sys.argv[2:])
    else:
        main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
