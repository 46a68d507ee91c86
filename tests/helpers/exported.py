"""Runs on disk for tests of exports and of training: several parts, carried columns, long recordings, missing texts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from pipeline.run.write import write_parts
from tests.helpers.rows import coded_row, codes_of, failed_row

CHUNK = 2 * 1920
TEXTS = {"spk1/a.flac": "hello", "spk1/b.c.wav": "Grüße", "long": "a long one", "mute": None, "z\N{SNOWMAN}": "last"}
"""id -> transcript of every recording of `make_run`."""


def make_run(folder: Path) -> Path:
    """`folder` with the recordings of TEXTS: "long" has three chunks, in three parts, out of order."""
    long = [_row("long", CHUNK if chunk < 2 else 100, chunk, 3, 2 * chunk) for chunk in range(3)]
    for rows in (
        [_row("spk1/a.flac", 1920 * 3), long[2]],
        [long[0], failed_row("bad"), _row("mute", 5000)],
        [_row("spk1/b.c.wav", 1920 * 20), long[1], _row("z\N{SNOWMAN}", 1)],
    ):
        write_parts(pa.concat_tables(rows, promote_options="default"), LocalFileSystem(), str(folder))
    return folder


def expected_codes() -> dict[str, np.ndarray]:
    """id -> int16 [F, 16] of every recording of `make_run`."""
    frames = {"spk1/a.flac": 3, "spk1/b.c.wav": 20, "mute": 3, "z\N{SNOWMAN}": 1}
    long = np.concatenate([codes_of(2, 0), codes_of(2, 1), codes_of(1, 2)])
    return {"long": long, **{id_: codes_of(number) for id_, number in frames.items()}}


def make_many(folder: Path, recordings: int, rows_a_part: int, seed: int = 0) -> list[str]:
    """A run of short recordings of 1 to 5 frames; returns their ids."""
    random = np.random.default_rng(seed)
    rows = [_row(f"r{number:05d}", int(random.integers(1, 5 * 1920))) for number in range(recordings)]
    for first in range(0, recordings, rows_a_part):
        write_parts(pa.concat_tables(rows[first : first + rows_a_part]), LocalFileSystem(), str(folder))
    return [f"r{number:05d}" for number in range(recordings)]


def _row(id_: str, samples: int, chunk: int = 0, chunks: int = 1, first_frame: int = 0) -> pa.Table:
    text = TEXTS.get(id_, f"text of {id_}")
    more: dict[str, Any] = {
        "text": pa.array([text], pa.string()),
        "speaker": pa.array(["anna"]),
        "json": pa.array([json.dumps({"lang": "German", "year": 2026})]),
        "score": pa.array([0.5], pa.float32()),
        "info": pa.array([{"room": "studio"}]),
    }
    return coded_row(id_, samples, chunk, chunks, first_frame, **more)
