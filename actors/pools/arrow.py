"""Codes and waves as numpy arrays <-> Arrow columns; failed rows marked. Shared by both pools."""

from collections.abc import Callable
from itertools import accumulate

import numpy as np
import pyarrow as pa

from actors.contract import NUM_CODEBOOKS
from actors.errors import RecordingError

CODES_TYPE = pa.list_(pa.list_(pa.int16(), NUM_CODEBOOKS))
"""codes int16 [F, K] of one chunk, as one Parquet cell."""

Report = Callable[[pa.Table, float], None] | None
"""Called with every finished block, and the seconds that it took."""


def failure(stage: str, error: RecordingError) -> dict[str, str]:
    """The columns of a failed row: the stage in which the recording failed, the name of its error, the message."""
    return {"stage": stage, "error": type(error).__name__, "message": str(error)}


def mark_failures(table: pa.Table, failures: dict[int, RecordingError], stage: str) -> pa.Table:
    """`table` with "stage", "error" and "message" filled in for the rows in `failures`."""
    if not failures:
        return table
    failed = {row: failure(stage, error) for row, error in failures.items()}
    for name in ("stage", "error", "message"):
        values = [failed[row][name] if row in failed else old for row, old in enumerate(table[name].to_pylist())]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table


def codes_array(codes: list[np.ndarray | None]) -> pa.ListArray:
    """int16 [F, 16] each, or None -> one Arrow array of CODES_TYPE, copied once."""
    present = [array for array in codes if array is not None]
    flat = np.concatenate(present).reshape(-1) if present else np.empty(0, np.int16)
    lengths = [0 if array is None else len(array) for array in codes]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    frames = pa.FixedSizeListArray.from_arrays(pa.array(flat), NUM_CODEBOOKS)
    mask = pa.array([array is None for array in codes])
    return pa.ListArray.from_arrays(offsets, frames, type=CODES_TYPE, mask=mask)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array; `combine_chunks` copies even a single chunk."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def codes_arrays(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """The inverse of `codes_array`: one int16 [F, 16] view (read-only) a row, None for null."""
    rows = one_array(column)
    return [row.values.flatten().to_numpy().reshape(-1, NUM_CODEBOOKS) if row.is_valid else None for row in rows]


def to_pcm16(wave: np.ndarray) -> np.ndarray:
    """float32 [T] in [-1, 1] -> int16 [T]: round(32767 x), the scale of libsndfile without clipping."""
    return np.rint(np.clip(wave, -1.0, 1.0) * 32767.0).astype(np.int16)


def lists_array(arrays: list[np.ndarray | None], dtype: type[np.generic]) -> pa.LargeListArray:
    """[T] of `dtype` each, or None -> one Arrow array of large_list; a single one is not copied."""
    present = [array for array in arrays if array is not None]
    flat = present[0] if len(present) == 1 else np.concatenate([*present, np.empty(0, dtype)])
    ends = accumulate((0 if array is None else len(array) for array in arrays), initial=0)
    absent = pa.array([array is None for array in arrays]) if len(present) < len(arrays) else None
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(flat), mask=absent)


def waves_array(waves: list[np.ndarray | None]) -> pa.LargeListArray:
    """int16 [T] each, or None -> one Arrow array of large_list<int16>."""
    return lists_array(waves, np.int16)
