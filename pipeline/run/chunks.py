"""Rows of several chunks of a recording: what is there twice, or does not fit together, is an OutputError."""

import numpy as np
import pyarrow as pa

from pipeline.errors import OutputError, plural
from pipeline.run.alike import groups, shared
from pipeline.storage.id_set import hashes_among
from pipeline.storage.location import redact


def refuse_doubles(rows: pa.Table, hashes: np.ndarray, location: str) -> None:
    """Raise OutputError for chunks with several rows, such as those of copied parts; `hashes` of the ids of `rows`."""
    several = shared([hashes])
    order, begins = groups(hashes[several], rows["chunk"].to_numpy()[several])
    times = np.diff([*begins.tolist(), len(order)])
    if (times > 1).any():
        at = min(zip(several[order[begins[times > 1]]].tolist(), times[times > 1].tolist(), strict=True))
        first = rows.select(["id", "chunk"]).slice(at[0], 1).to_pylist()[0]
        doubles = plural(int((times > 1).sum()), "chunk")
        raise OutputError(
            f"{redact(location)} holds {doubles} more than once, first chunk {first['chunk']} of "
            f"{first['id']!r}: {at[1]} times. Of a run, `voxmill check RUN --repair` keeps one of each; of other "
            "Parquet, drop them."
        )


def lacking(rows: pa.Table, hashes: np.ndarray) -> np.ndarray:
    """bool [rows]: of a recording that lacks chunks. No chunk of `rows` is there twice."""
    chunks = rows["chunks"].to_numpy()
    long = np.flatnonzero(chunks > 1)
    order, begins = groups(hashes[long], chunks[long])
    there = np.diff([*begins.tolist(), len(order)])
    result = np.zeros(len(rows), bool)
    result[long[order]] = np.repeat(there < chunks[long[order[begins]]], there)
    lost = np.unique(hashes[result])  # all rows of it, also where they disagree about their number
    result[long] = hashes_among(hashes[long], lost)
    return result


def refuse_gaps(rows: pa.Table, begins: np.ndarray, location: str) -> None:
    """Raise OutputError unless the chunks of every recording, in order, follow each other; `begins`: the row of `rows`
    where those of each begin."""
    sizes = np.diff(begins, append=len(rows))
    frames = rows["num_frames"].to_numpy().astype(np.int64)
    before = np.cumsum(frames) - frames
    place = np.arange(len(rows)) - np.repeat(begins, sizes)
    first_frame = before - np.repeat(before[begins], sizes)
    expected = np.column_stack([place, np.repeat(sizes, sizes), first_frame])
    seen = np.column_stack([rows[name].to_numpy() for name in ("chunk", "chunks", "first_frame")])
    wrong = np.flatnonzero((seen != expected).any(axis=1))
    if len(wrong):
        begin = int(wrong[0] - place[wrong[0]])
        shown = slice(begin, begin + min(5, int(expected[begin, 1])))
        first_seen, first_expected = ([tuple(row) for row in some[shown].tolist()] for some in (seen, expected))
        raise OutputError(
            f"{redact(location)}: the chunks of {rows['id'][begin].as_py()!r} do not follow each other: (chunk, chunks,"
            f" first_frame) is {first_seen}, expected {first_expected}. `voxmill check RUN --repair` drops them, then"
            " the command that made the run makes them again."
        )
