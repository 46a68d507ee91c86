"""Rows of several chunks of a recording: what is there twice, or does not fit together, is an OutputError."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import OutputError
from pipeline.storage.location import redact


def refuse_doubles(rows: pa.Table, location: str) -> None:
    """Raise OutputError for chunks with several rows, such as those of copied parts."""
    counts = rows.group_by(["id", "chunk"]).aggregate([([], "count_all")])
    double = counts.filter(pc.greater(counts["count_all"], 1))
    if len(double):
        first = double.slice(0, 1).to_pylist()[0]
        raise OutputError(
            f"{redact(location)} holds {len(double)} chunks more than once, first chunk {first['chunk']} of "
            f"{first['id']!r}: {first['count_all']} times. `voxmill check RUN --repair` keeps one of each."
        )


def refuse_gaps(rows: pa.Table, location: str) -> None:
    """Raise OutputError unless the chunks of a recording, in order, follow each other."""
    frames = np.cumsum([0, *rows["num_frames"].to_pylist()])
    expected = [(chunk, len(rows), int(frames[chunk])) for chunk in range(len(rows))]
    seen = list(zip(*(rows[name].to_pylist() for name in ("chunk", "chunks", "first_frame")), strict=True))
    if seen != expected:
        raise OutputError(
            f"{redact(location)}: the chunks of {rows['id'][0].as_py()!r} do not follow each other: (chunk, chunks, "
            f"first_frame) is {seen[:5]}, expected {expected[:5]}. `voxmill check RUN --repair` drops them, then the "
            "command that made the run makes them again."
        )
