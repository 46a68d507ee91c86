"""Rows of codes, one a chunk -> a pandas DataFrame, one row a recording."""

from typing import TYPE_CHECKING

import pyarrow as pa

from actors.contract import SAMPLE_RATE

if TYPE_CHECKING:
    import pandas

SUMS = ["num_frames", "num_samples"]
OF_CHUNKS = ["chunk", "first_frame"]


def frame_of(rows: pa.Table) -> "pandas.DataFrame":
    """`rows`: all chunks of whole recordings, without codes. Lengths are those of the whole recordings."""
    frame = rows.to_pandas()
    if (frame["chunks"] > 1).any():
        frame[SUMS] = frame.groupby("id", sort=False)[SUMS].transform("sum")
        frame["duration_s"] = frame["num_samples"] / SAMPLE_RATE
    frame["channel"] = frame["channel"].astype("Int32")  # null: the mean of all
    return frame[frame["chunk"] == 0].drop(columns=OF_CHUNKS).reset_index(drop=True)
