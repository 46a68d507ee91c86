"""A folder -> its recordings as a run reads them, and one long wave of them, from which recordings are made."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.errors import InputError
from pipeline.read import ROWS_OF_A_TABLE, Reading, read_chunks
from pipeline.settings import Settings
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import Plan, divide

BUNDLED = Path(__file__).parents[1] / "cli" / "demo_clips"
"""Seven clips of speech that come with the package, 23 s in all."""


def plan(location: str) -> Plan:
    """The read tasks of a run over `location` with one reader. Raises InputError."""
    rules, chunk = Settings().input, Settings().chunk
    return divide(
        discover_all([location], **rules.finding),
        task_bytes=round(rules.task_mb * 2**20),
        chunk_samples=chunk.length_samples,
        max_recording_s=rules.max_recording_s,
    )


def waves(planned: Plan) -> Iterator[tuple[str, np.ndarray]]:
    """Id and samples, float32 [T] at 24 kHz, of every chunk (without context); what cannot be read is left out."""
    settings = Settings()
    how = Reading(settings.chunk.length_samples, 0, False, settings.input.max_recording_s)
    for task in planned.tasks:
        for rows in read_chunks(task, how, planned.carried, {}, most_rows=ROWS_OF_A_TABLE):
            for id_, audio in zip(rows["id"].to_pylist(), rows["audio"], strict=True):
                if audio.is_valid:
                    yield id_, audio.values.to_numpy()


def speech(location: str | None, seconds: float) -> np.ndarray:
    """float32 [T] at 24 kHz, `seconds` long: the recordings of `location` (None: bundled clips) one after another, and
    again from the first where they are too short. Raises InputError where none can be read."""
    wanted, held, found = math.ceil(seconds * SAMPLE_RATE), 0, list[np.ndarray]()
    for _, wave in waves(plan(location or str(BUNDLED))):
        found.append(wave)
        held += len(wave)
        if held >= wanted:
            break
    if not found:
        raise InputError(f"No recording of {location} can be read; `voxmill tokenize` with --out says why.")
    return np.resize(np.concatenate(found), wanted)
