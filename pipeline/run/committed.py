"""The keys of a run -> which recordings are done, and which chunks of the others: a rerun does only the rest."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.alike import first_of
from pipeline.run.keys import Keys, gathered
from pipeline.run.layout import CODES, FAILURES, SKIPPED
from pipeline.run.part_keys import PartKeys
from pipeline.run.whole_files import files_done
from pipeline.schema import parents


@dataclass(frozen=True)
class Done:
    """What the parts of a run hold: a rerun does only the rest."""

    ids: pa.ChunkedArray  # large_string, a chunk a part: recordings with all their codes, a failure, or skipped
    partial: dict[str, frozenset[int]]  # long recordings of which only these chunks are committed


NOTHING = Done(pa.chunked_array([], pa.large_string()), {})
"""What a new run holds."""


def committed(keys: Keys, with_skipped: bool = True) -> Done:
    """What is done. Raises OutputError for a part that is none.

    A file of which each channel, or each stretch of speech, is a recording counts as one, too, once all are there.
    """
    coded, failed = keys.parts(CODES), keys.parts(FAILURES, *([SKIPPED] if with_skipped else []))
    long = Long(coded)
    finished = np.concatenate([np.empty(0, "S16"), *(part.hashes for part in failed)]) if long.partial.any() else None
    partial = long.chunks(coded, np.isin(long.hashes, finished, invert=True)) if finished is not None else {}
    files = files_done(coded, failed, long.lacking(coded))
    ids = [*long.ids(coded), *(part.ids for part in failed), *files.chunks]
    return Done(pa.chunked_array(ids, pa.large_string()), partial)


class Long:
    """The recordings of several chunks in parts of codes: `hashes`, and whether each is only `partial`."""

    def __init__(self, coded: list[PartKeys]) -> None:
        self.part, self.row, self.chunk, chunks = (gathered(coded, name) for name in ("part", "row", "chunk", "chunks"))
        hashes = gathered(coded, "hash")
        self.hashes, self.first, self.of = np.unique(hashes, return_index=True, return_inverse=True)
        there = np.bincount(self.of[first_of(hashes, self.chunk)], minlength=len(self.hashes))
        expected = np.zeros(len(self.hashes), np.int64)
        expected[self.of] = chunks  # where rows disagree, the last one's
        self.partial = there != expected

    def ids(self, coded: list[PartKeys]) -> Iterator[pa.Array]:
        """Of each part the ids of short recordings, and of whole ones whose first row lies in it."""
        first = np.zeros(len(self.row), bool)
        first[self.first[~self.partial]] = True
        ends = np.cumsum([len(part.long) for part in coded])
        for part, is_first in zip(coded, np.split(first, ends[:-1]), strict=True) if coded else ():
            kept = np.ones(len(part), bool)
            kept[part.long] = is_first
            yield part.ids.filter(pa.array(kept)) if len(part.long) else part.ids

    def lacking(self, coded: list[PartKeys]) -> list[str]:
        """The ids of those that are partial."""
        rows = self.first[self.partial].tolist()
        return [coded[self.part[row]].ids[self.row[row]].as_py() for row in rows]

    def chunks(self, coded: list[PartKeys], wanted: np.ndarray) -> dict[str, frozenset[int]]:
        """The chunks of the partial ones that are `wanted` (bool [hashes]), by their ids."""
        found: dict[str, set[int]] = {}
        for row in np.flatnonzero((self.partial & wanted)[self.of]).tolist():
            id_ = coded[self.part[row]].ids[int(self.row[row])].as_py()
            found.setdefault(id_, set()).add(int(self.chunk[row]))
        return {id_: frozenset(chunks) for id_, chunks in found.items()}


def lasting(keys: Keys, done: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """`done`, ids of recordings that are committed, without those whose failure may be gone at another attempt.

    Their rows stay: `settle` drops them where codes come, and keeps another failure rather than them.
    """
    failed = [part for part in keys.parts(FAILURES) if part.passing.any()]
    passing = [part.ids.filter(pa.array(part.passing)) for part in failed]
    ids = pa.concat_arrays([pa.array([], pa.large_string()), *passing])
    ids = pa.concat_arrays([ids, parents(ids)])  # a file is not done where a part of it is not
    return done.filter(pc.invert(pc.is_in(done, value_set=ids))) if len(ids) else done


def outcomes(keys: Keys) -> dict[str, int]:
    """How many recordings a run has, how many failed, how many were skipped; it may still be running."""
    partial = committed(keys).partial
    hashes = np.concatenate([np.empty(0, "S16"), *(part.hashes for part in keys.parts(CODES))])
    others = {folder: sum(map(len, keys.parts(folder))) for folder in (FAILURES, SKIPPED)}
    return {"recordings": len(np.unique(hashes)) - len(partial), **others, "partial": len(partial)}
