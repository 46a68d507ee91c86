"""A small run on disk with all that a report shows: sources, reconstructions, failures, times of its stages."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
from pyarrow.fs import LocalFileSystem

from actors.contract import SAMPLE_RATE
from pipeline.run.layout import wave_path
from pipeline.run.write import write_parts
from tests.helpers.rows import coded_row, failed_row, run_record, tone

HOSTILE = '<script>alert("x")</script>'


def recording(folder: Path, run: Path, id_: str, seconds: float = 1.0, seed: int = 0, **more: Any) -> pa.Table:
    """A row of codes whose source and reconstruction are there; `more` overrides or adds columns."""
    wave, noise = tone(seconds, seed), tone(seconds, seed + 1)
    source = folder / f"{seed}.wav"
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(source, wave, SAMPLE_RATE)
    path = Path(wave_path(f"{run}/wav", id_))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + 0.05 * (seed + 1) * noise, SAMPLE_RATE)
    size = {"source_size": pa.array([None], pa.int64())}
    return coded_row(id_, len(wave), **{"source": str(source), **size, **more})


def reported_run(place: Path, ids: list[str], failed: list[pa.Table] | None = None, **record: Any) -> Path:
    """A complete run of a recording for each of `ids`; `record` are keys of its run.json."""
    run = place / "run"
    rows = [recording(place / "corpus", run, id_, 1.0 + 0.1 * number, number) for number, id_ in enumerate(ids)]
    rows += failed or []
    write_parts(pa.concat_tables(rows), LocalFileSystem(), str(run))
    return finished(run, **record)


def finished(run: Path, **record: Any) -> Path:
    """`run` with its run.json and _SUCCESS."""
    run.mkdir(exist_ok=True)
    (run / "run.json").write_text(json.dumps(run_record(**record)))
    (run / "_SUCCESS").touch()
    return run


def hostile_failure() -> pa.Table:
    """A failure whose id and message are markup."""
    row = failed_row(f"{HOSTILE}.wav")
    message = pa.array([f"{HOSTILE} & more"])
    return row.set_column(row.schema.get_field_index("message"), "message", message)


def tar_of(path: Path, members: dict[str, np.ndarray]) -> Path:
    """A tar of WAVs at 24 kHz."""
    with tarfile.open(path, "w") as archive:
        for name, wave in members.items():
            part = path.parent / "member.wav"
            soundfile.write(part, wave, SAMPLE_RATE)
            archive.add(part, name)
    return path


def timed_attempt() -> dict[str, Any]:
    """An attempt of run.json with the times of its stages."""

    def stage(busy_s: float, **more: float) -> dict[str, float | None]:
        given = {"workers": 2, "nodes": 1, "calls": 4, "audio_s": 60.0, "peak_memory_mb": 700.0, "peak_device_mb": None}
        return {**given, "busy_s": busy_s, "waited_s": 200.0 - busy_s, **more}

    stages = {"read": stage(40.0, resample_s=10.0), "encode": stage(190.0, peak_device_mb=900.0), "write": stage(10.0)}
    series = {name: [1.0, 2.0, 3.0] for name in stages}
    timeline = {"slot_s": 3.0, "audio_s": series, "busy_s": series}
    times = {"started": "2026-01-01T00:00:00+00:00", "wall_s": 100.0, "audio_s": 60.0, "times_real_time": 0.6}
    return {**times, "stages": stages, "timeline": timeline}
