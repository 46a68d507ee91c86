"""Ids of committed recordings -> the files that are left; and those ids that a task needs which finds its recordings
only as it reads.
"""

import bisect
import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import parents
from pipeline.sources.rows import kept
from pipeline.sources.task import NONE, ReadTask
from pipeline.storage.id_set import among, id_set
from pipeline.storage.text import id_hashes

PART = r"(@ch\d+|#[0-9.]+-[0-9.]+)$"
"""The end of the id of a channel, or of a stretch of speech."""


def fresh(units: pa.Table, done: pa.ChunkedArray) -> pa.Table:
    """The units whose ids are not among `done`."""
    return kept(units, ~among(units["@id"], id_set(done))) if len(done) and len(units) else units


def chunked(ids: pa.Array | pa.ChunkedArray | None) -> pa.ChunkedArray:
    """`ids` as large_string, chunk by chunk."""
    if ids is None:
        return NONE
    return ids.cast(pa.large_string()) if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([ids]).cast(NONE.type)


class Committed:
    """Committed ids, sorted, so that each task that is not `listed` gets its own and no more."""

    def __init__(self, ids: pa.ChunkedArray, prefixed: bool) -> None:
        self.ids, self.prefixed = ids.take(pc.sort_indices(ids)), prefixed
        self.last: tuple[list[str], pa.ChunkedArray] = [], NONE  # containers of one task, and what was found

    @functools.cached_property
    def text(self) -> pa.Array:
        """All of them; with 64 bit offsets, because they may take more than 2 GiB."""
        return self.ids.combine_chunks() if self.ids.num_chunks != 1 else self.ids.chunk(0)

    def within(self, task: ReadTask) -> pa.ChunkedArray:
        """Those of channels and speech of the task's files; or those of recordings in its containers, and of the
        containers where they failed as a whole: for the row groups of one Parquet shard, the same object."""
        if task.kind == "files":
            return self.parts.within(task.units["@id"])
        if not self.prefixed:
            return self.ids
        containers, ranges = task.units["@id"].unique().to_pylist(), []
        if containers == self.last[0]:
            return self.last[1]
        for id in containers:
            for first, after in ((id, f"{id}\0"), (f"{id}#", f"{id}$"), (f"{id}/", f"{id}0")):  # all that starts so
                ranges.append(self._between(first, after))
        self.last = containers, pa.chunked_array(filter(len, ranges), NONE.type)
        return self.last[1]

    def _between(self, first: str, after: str) -> pa.Array:
        begin = bisect.bisect_left(self.text, first, key=lambda id: id.as_py())
        end = bisect.bisect_left(self.text, after, key=lambda id: id.as_py())
        return self.text.slice(begin, end - begin)

    @functools.cached_property
    def parts(self) -> "Parts":
        """The ids of channels and stretches of speech among them."""
        return Parts(self.ids.filter(pc.match_substring_regex(self.ids, PART)))


class Parts:
    """Ids of channels and stretches of speech, by the hashes of all that each may be a part of."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self.ids = ids.combine_chunks()
        hashes = id_hashes(parents(self.ids))
        order = np.argsort(hashes)
        self.hashes, self.rows = hashes[order], order % max(1, len(self.ids))

    def within(self, files: pa.ChunkedArray) -> pa.ChunkedArray:
        """Those of parts of `files`, in order."""
        owners = np.unique(id_hashes(files))
        begins, ends = (np.searchsorted(self.hashes, owners, side) for side in ("left", "right"))
        rows = [self.rows[begin:end] for begin, end in zip(begins, ends, strict=True) if end > begin]
        chosen = np.unique(np.concatenate([np.empty(0, np.int64), *rows]))
        return pa.chunked_array([self.ids.take(pa.array(chosen))], NONE.type)


def without(tasks: Sequence[ReadTask], failed: pa.ChunkedArray) -> list[ReadTask]:
    """`tasks` that do not read the recordings (or whole containers) in `failed`."""
    known, bad = id_set(failed), Committed(chunked(failed), tasks[0].prefixed if tasks else False)
    left = [replace(task, units=kept(task.units, ~among(task.units["@id"], known))) for task in tasks]
    return [task if task.listed else replace(task, done=bad.within(task)) for task in left]
