"""Units of files or containers -> pieces of similar size, those of one file together, as views of the units."""

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.rows import is_empty, taken
from pipeline.storage.text import id_hashes

OPEN_BYTES = 64 << 10
"""What opening a file weighs, in bytes of reading: a task of tiny files is not to take an hour of requests."""


def by_file(units: pa.Table) -> pa.Table:
    """`units` of files, those of one file beside each other: a reader goes through it once for all of them."""
    if all(is_empty(units[name]) for name in ("@start_s", "@end_s", "@channel")):
        return units  # of millions of files
    new = _begins(units["@location"])
    hashes = id_hashes(units["@location"].filter(pa.array(new)))  # of each run of rows of one file
    _, first, file = np.unique(hashes, return_index=True, return_inverse=True)
    if len(first) == len(hashes):
        return units
    return taken(units, np.argsort(first[file][np.cumsum(new) - 1], kind="stable"))


def split(units: pa.Table, target: int, keep: int = 1) -> Iterator[pa.Table]:
    """Consecutive pieces of about `target` bytes, as views of `units`; up to `keep` bytes of a file are not parted."""
    sizes = units["@bytes"].to_numpy() + OPEN_BYTES
    begins = np.cumsum(sizes, dtype=np.int64)
    begins -= sizes
    group = np.maximum.accumulate(np.where(_begins(units["@location"]), begins, 0), out=sizes)  # of each row's file
    begins -= group
    begins //= keep
    begins *= keep
    group += begins
    group //= target
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(sizes)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            yield units.slice(begin, end - begin)


def _begins(places: pa.ChunkedArray) -> np.ndarray:
    """bool [n]: where another file begins than in the row before."""
    new = np.ones(len(places), bool)
    new[1:] = pc.not_equal(places.slice(1), places.slice(0, max(0, len(places) - 1))).to_numpy()
    return new
