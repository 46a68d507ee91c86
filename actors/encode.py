"""Chunk rows -> rows with codes: the callable class of the encode pool."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from actors.isolate import Attempts, isolate
from pipeline.errors import RecordingError
from pipeline.schema import CHUNK_SCHEMA, CODES_TYPE, FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE, frame_count

if TYPE_CHECKING:
    from actors.codec import Codec

Report = Callable[[pa.Table], None] | None
"""Told of every finished block; for progress only."""

_FAILURE = ("stage", "error", "message")


class EncodeChunks:
    """Ray Data builds one per pool slot and feeds it block after block."""

    def __init__(
        self, load: "Callable[[], Codec]", attempts: Attempts, keep_context: bool = False, report: Report = None
    ) -> None:
        self.codec = load()  # weights on this actor's device: the only state
        self.attempts = attempts
        self.keep_context = keep_context
        self.report = report

    def __call__(self, chunks: pa.Table) -> pa.Table:
        """Replace "audio" large_list<float32> [context + T] by "codes" list<fixed_size_list<int16>[16]> [F].

        Codes of the left context are computed and dropped, or kept as "context_codes" for the decode pool. A chunk that
        cannot be encoded becomes a failure row; its batch mates are not touched.
        """
        audio = chunks["audio"].combine_chunks()
        rows = [index for index, failed in enumerate(chunks["stage"].is_valid().to_pylist()) if not failed]
        waves = [audio[index].values.to_numpy() for index in rows]
        keys = [f"encode {chunks['id'][row]} {chunks['chunk'][row]}" for row in rows]
        codes, failures = isolate(self.codec.encode, waves, keys, self.attempts)
        context = [chunks["context_samples"][row].as_py() // FRAME_SAMPLES for row in rows]

        kept: list[np.ndarray | None] = [None] * len(chunks)
        dropped: list[np.ndarray | None] = [None] * len(chunks)
        for row, found, frames in zip(rows, codes, context, strict=True):
            if found is not None:
                dropped[row], kept[row] = found[:frames], found[frames:]
        table = mark_failures(chunks, {rows[index]: error for index, error in failures.items()}, "encode")
        table = table.drop_columns(["audio", "context_samples"])
        samples = table["num_samples"].to_pylist()
        table = table.append_column("num_frames", pa.array([s and frame_count(s) for s in samples], pa.int32()))
        table = table.append_column("duration_s", pa.array([s and s / SAMPLE_RATE for s in samples], pa.float64()))
        table = table.append_column("codes", codes_array(kept))
        if self.report is not None:
            self.report(table)
        return table.append_column("context_codes", codes_array(dropped)) if self.keep_context else table


def mark_failures(table: pa.Table, failures: dict[int, RecordingError], stage: str) -> pa.Table:
    """`table` with "stage", "error" and "message" filled in for the rows in `failures`."""
    if not failures:
        return table
    columns = {name: table[name].to_pylist() for name in _FAILURE}
    for row, error in failures.items():
        columns["stage"][row], columns["error"][row], columns["message"][row] = stage, type(error).__name__, str(error)
    for name, values in columns.items():
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(values, CHUNK_SCHEMA.field(name).type)
        )
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


def codes_arrays(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """The inverse of `codes_array`: one int16 [F, 16] view (read-only) a row, None for null."""
    rows = column.combine_chunks()
    return [row.values.flatten().to_numpy().reshape(-1, NUM_CODEBOOKS) if row.is_valid else None for row in rows]
