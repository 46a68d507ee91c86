"""Rows with codes -> rows with waves: the callable class of the decode pool."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from actors.contract import FRAME_SAMPLES, Engine
from actors.errors import RecordingError
from actors.pools.arrow import Report, codes_arrays, mark_failures, waves_array
from actors.pools.isolate import Attempts, isolate


class DecodeCodes:
    """Ray Data builds one per pool slot and feeds it block after block."""

    def __init__(
        self, load: Callable[[], Engine], attempts: Attempts, report: Report = None, stall_s: float = 0.0
    ) -> None:
        self.codec = load()  # weights on this actor's device: the only state
        self.attempts = attempts
        self.report = report
        self.stall_s = stall_s  # see `isolate`

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Replace "context_codes" by "wave" large_list<int16> [num_samples]: PCM of "codes", decoded after the context.

        Rows of failed recordings pass through; codes that cannot be decoded become a failure row.
        """
        start = time.monotonic()
        samples = rows["num_samples"].to_pylist()
        given = {
            row: (before, found)
            for row, (before, found) in enumerate(
                zip(codes_arrays(rows["context_codes"]), codes_arrays(rows["codes"]), strict=True)
            )
            if before is not None and found is not None
        }
        keys = [f"decode {rows['id'][row]} {rows['chunk'][row]}" for row in given]
        whole = [np.concatenate(pair) for pair in given.values()]
        decoded, errors = isolate(partial(self.codec.decode, pcm16=True), whole, keys, self.attempts, self.stall_s)
        waves: list[np.ndarray | None] = [None] * len(rows)
        failures: dict[int, RecordingError] = {}
        for index, (row, (before, _)) in enumerate(given.items()):
            wave = decoded[index]
            if wave is None:
                failures[row] = errors[index]
            else:
                waves[row] = wave[len(before) * FRAME_SAMPLES :][: samples[row]]
        table = mark_failures(rows, failures, "decode").drop_columns(["context_codes"])
        if self.report is not None:
            self.report(table, time.monotonic() - start)
        return table.append_column("wave", waves_array(waves))
