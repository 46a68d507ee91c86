"""Rows of codes or of failures -> which of them are impossible, and why."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from pipeline.schema import CODES_SCHEMA

KEYS = ["id", "chunk", "chunks"]
Fault = tuple[str, np.ndarray]
"""A fault of rows, and bool [rows]: the rows that have it."""


def row_faults(table: pa.Table, chunk_samples: int | None = None, codebook_size: int | None = None) -> list[Fault]:
    """The faults of rows of codes or of failures, as far as the columns of `table` show.

    `chunk_samples` (24 kHz) and `codebook_size` of the run, if they are known.
    """
    names = set(table.column_names)
    faults = []
    if "id" in names:
        faults.append(("it has no id", _nulls(table, ["id"])))
    if names >= {"stage", "error"}:
        faults.append(("it has no stage or no error", _nulls(table, ["stage", "error"])))
    if names >= set(KEYS):
        chunk, chunks = _integers(table, "chunk"), _integers(table, "chunks")
        faults.append(("its chunk lies outside 0..chunks - 1", (chunk < 0) | (chunk >= chunks)))
    if names >= set(CODES_SCHEMA.names):
        faults += _content_faults(table, chunk_samples, codebook_size)
    return faults


def _content_faults(table: pa.Table, chunk_samples: int | None, codebook_size: int | None) -> list[Fault]:
    chunk, chunks, first_frame, frames, samples, rate, channels = (
        _integers(table, name)
        for name in (*KEYS[1:], "first_frame", "num_frames", "num_samples", "source_rate", "source_channels")
    )
    duration_s = pc.fill_null(table["duration_s"], -1.0).to_numpy()
    coded, lowest, highest = _codes_extent(table["codes"])
    length = samples if chunk_samples is None else np.full(len(table), chunk_samples)
    last = chunk == chunks - 1
    if chunk_samples:
        misplaced = first_frame != chunk * (length // FRAME_SAMPLES)
    else:
        misplaced = (first_frame < 0) | ((chunk == 0) & (first_frame != 0))
    return [
        ("it has no source, rate or channels", _nulls(table, ["source"]) | (rate < 1) | (channels < 1)),
        ("it has no samples", samples < 1),
        ("first_frame is not where its chunk begins", misplaced),
        ("num_samples is not what its chunk holds", np.where(last, samples > length, samples != length)),
        ("num_samples are not whole frames, and more chunks follow", ~last & (samples % FRAME_SAMPLES != 0)),
        ("num_frames is not num_samples / 1920, rounded up", frames != -(-samples // FRAME_SAMPLES)),
        ("duration_s is not num_samples / 24000", ~(np.abs(duration_s - samples / SAMPLE_RATE) <= 1e-6)),
        ("its codes are not [num_frames, 16]", coded != frames),
        (f"codes outside 0..{(codebook_size or 32_768) - 1}", (lowest < 0) | (highest >= (codebook_size or 32_768))),
    ]


def _codes_extent(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (-1: null, or with null frames or codes), lowest and highest code of every row (0 if it has no frames)."""
    frames, lowest, highest = [], [], []
    for codes in column.chunks:
        lengths = pc.fill_null(pc.list_value_length(codes), -1).to_numpy().astype(np.int64)
        low, high = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
        values = codes.flatten()
        flat = values.flatten()
        if values.null_count or flat.null_count:
            lengths[:] = -1  # no writer makes them: all rows are marked, whichever has the null
        elif len(flat):
            full = lengths > 0
            begins = (np.cumsum(lengths[full]) - lengths[full]) * values.type.list_size
            low[full] = np.minimum.reduceat(flat.to_numpy(), begins)
            high[full] = np.maximum.reduceat(flat.to_numpy(), begins)
        frames.append(lengths)
        lowest.append(low)
        highest.append(high)
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *frames]), np.concatenate([empty, *lowest]), np.concatenate([empty, *highest])


def _integers(table: pa.Table, name: str) -> np.ndarray:
    """int64 [rows], -1 for null."""
    return pc.fill_null(table[name], -1).to_numpy().astype(np.int64)


def _nulls(table: pa.Table, names: list[str]) -> np.ndarray:
    return np.logical_or.reduce([table[name].is_null().to_numpy() for name in names])
