"""Rows of codes, one a chunk -> a pandas DataFrame, one row a recording."""

from typing import TYPE_CHECKING

import pyarrow as pa

from actors.contract import SAMPLE_RATE
from pipeline.run.plain import BEYOND, plain_values

if TYPE_CHECKING:
    import pandas

SUMS = ["num_frames", "num_samples"]
OF_CHUNKS = ["chunk", "first_frame"]


def _series(rows: pa.Table, name: str) -> "pandas.Series":
    """A column; where Python cannot hold one of its values, of objects."""
    import pandas

    try:
        return rows[name].to_pandas()
    except BEYOND:
        return pandas.Series(plain_values(rows[name].combine_chunks()), dtype=object)


def frame_of(rows: pa.Table) -> "pandas.DataFrame":
    """`rows`: all chunks of whole recordings, without codes. Lengths are those of the whole recordings."""
    import pandas

    frame = pandas.DataFrame({name: _series(rows, name) for name in rows.column_names})
    if (frame["chunks"] > 1).any():
        frame[SUMS] = frame.groupby("id", sort=False)[SUMS].transform("sum")
        frame["duration_s"] = frame["num_samples"] / SAMPLE_RATE
    frame["channel"] = frame["channel"].astype("Int32")  # null: the mean of all
    return frame[frame["chunk"] == 0].drop(columns=OF_CHUNKS).reset_index(drop=True)
