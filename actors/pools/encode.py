"""Chunk rows -> rows with codes: the callable class of the encode pool."""

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE, Engine, frame_count
from actors.pools.arrow import Report, codes_array, mark_failures, one_array
from actors.pools.isolate import Attempts, isolate


class EncodeChunks:
    """Ray Data builds one per pool slot and feeds it block after block."""

    def __init__(
        self,
        load: Callable[[], Engine],
        attempts: Attempts,
        keep_context: bool = False,
        report: Report = None,
        stall_s: float = 0.0,
    ) -> None:
        self.codec = load()  # weights on this actor's device: the only state
        self.attempts = attempts
        self.keep_context = keep_context
        self.report = report
        self.stall_s = stall_s  # see `isolate`

    def __call__(self, chunks: pa.Table) -> pa.Table:
        """Replace "audio" large_list<float32> [context + T] by "codes" list<fixed_size_list<int16>[16]> [F].

        Codes of the left context are computed and dropped, or kept as "context_codes" for the decode pool. A chunk that
        cannot be encoded becomes a failure row; its batch mates are not affected.
        """
        start = time.monotonic()
        audio = one_array(chunks["audio"])
        rows = [index for index, failed in enumerate(chunks["stage"].is_valid().to_pylist()) if not failed]
        waves = [audio[index].values.to_numpy() for index in rows]
        keys = [f"encode {chunks['id'][row]} {chunks['chunk'][row]}" for row in rows]
        codes, failures = isolate(self.codec.encode, waves, keys, self.attempts, self.stall_s)
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
            self.report(table, time.monotonic() - start)
        return table.append_column("context_codes", codes_array(dropped)) if self.keep_context else table
