"""Rows with codes -> rows with waves: the callable class of the decode pool."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from actors.encode import Report, codes_arrays, mark_failures
from actors.isolate import Attempts, isolate
from pipeline.errors import RecordingError
from pipeline.schema import FRAME_SAMPLES

if TYPE_CHECKING:
    from actors.codec import Codec


class DecodeCodes:
    """Ray Data builds one per pool slot and feeds it block after block."""

    def __init__(self, load: "Callable[[], Codec]", attempts: Attempts, report: Report = None) -> None:
        self.codec = load()  # weights on this actor's device: the only state
        self.attempts = attempts
        self.report = report

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Replace "context_codes" by "wave" large_list<int16> [num_samples]: PCM of "codes", decoded after the context.

        Rows of failed recordings pass through; codes that cannot be decoded make a failure row.
        """
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
        decoded, errors = isolate(self.codec.decode, whole, keys, self.attempts)
        waves: list[np.ndarray | None] = [None] * len(rows)
        failures: dict[int, RecordingError] = {}
        for index, (row, (before, _)) in enumerate(given.items()):
            wave = decoded[index]
            if wave is None:
                failures[row] = errors[index]
            else:
                waves[row] = to_pcm16(wave[len(before) * FRAME_SAMPLES :][: samples[row]])
        table = mark_failures(rows, failures, "decode").drop_columns(["context_codes"])
        if self.report is not None:
            self.report(table)
        return table.append_column("wave", waves_array(waves))


def to_pcm16(wave: np.ndarray) -> np.ndarray:
    """float32 [T] in [-1, 1] -> int16 [T]: round(32767 x), the scale that libsndfile writes with."""
    return np.rint(np.clip(wave, -1.0, 1.0) * 32767.0).astype(np.int16)


def waves_array(waves: list[np.ndarray | None]) -> pa.LargeListArray:
    """int16 [T] each, or None -> one Arrow array of large_list<int16>."""
    present = [wave for wave in waves if wave is not None]
    flat = np.concatenate(present) if present else np.empty(0, np.int16)
    lengths = [0 if wave is None else len(wave) for wave in waves]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return pa.LargeListArray.from_arrays(offsets, pa.array(flat), mask=pa.array([wave is None for wave in waves]))
