"""Hashes of ids ("S16", see `id_hashes`) -> which rows share one, which are among others. No Python object a row."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.storage.id_set import hashes_among

AT_ONCE = 1 << 18
"""Rows that are looked up together: what is made of them stays in the cache."""


def shared(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers, ascending and over all arrays, of rows whose hash begins as another row's does.

    That is every row whose hash is there twice; of 50 M different ids, two others in one run of ten thousand: 8 bytes
    are compared, which sort many times faster than 16. Takes 8 bytes a row.
    """
    found = beginnings(hashes)
    twice = np.unique(found[1:][found[1:] == found[:-1]])
    del found
    if not len(twice):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate([hashes_among(some, twice) for some in _pieces(hashes)]))


def absent(hashes: Sequence[np.ndarray], known: np.ndarray) -> np.ndarray:
    """bool, over all arrays of `hashes`: not among `known`, the `beginnings` of others. That one of 50 M others hides
    an absent one has a chance of 3e-12. Takes 1 byte a row."""
    return np.concatenate([np.empty(0, bool), *(~hashes_among(some, known) for some in _pieces(hashes))])


def beginnings(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """uint64, sorted, over all arrays: the first 8 bytes of each hash."""
    found = np.concatenate([np.empty(0, np.uint64), *map(_beginnings, hashes)])
    found.sort()
    return found


class Numbered:
    """Hashes in an order in which they are found, 24 bytes each: as integers, which are sorted in half and found in a
    quarter of the time of texts."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.first, self.rest = _halves(hashes)
        self.number = np.argsort(self.first, kind="stable")  # in `hashes`
        self.first, self.rest = self.first[self.number], self.rest[self.number]

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """int64 [n]: the number of each (of equal ones, the first), -1 where it is not there."""
        first, rest = _halves(hashes)
        found, at = np.full(len(hashes), -1), np.searchsorted(self.first, first)
        rows = np.arange(len(hashes))
        while len(rows):  # once, but for hashes that begin alike
            rows = rows[at[rows] < len(self.first)]
            rows = rows[self.first[at[rows]] == first[rows]]
            same = self.rest[at[rows]] == rest[rows]
            found[rows[same]] = self.number[at[rows[same]]]
            rows = rows[~same]
            at[rows] += 1
        return found

    def absent(self, known: np.ndarray) -> np.ndarray:
        """The numbers, ascending, of those that are `absent`."""
        pieces = (self.first[begin : begin + AT_ONCE] for begin in range(0, len(self.first), AT_ONCE))
        lost = np.concatenate([np.empty(0, bool), *(~hashes_among(some, known) for some in pieces)])
        return np.sort(self.number[lost])


def _pieces(hashes: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """`_beginnings` of all arrays, AT_ONCE at most together."""
    return (_beginnings(one[first : first + AT_ONCE]) for one in hashes for first in range(0, len(one), AT_ONCE))


def _beginnings(hashes: np.ndarray) -> np.ndarray:
    """uint64 [n]: the first 8 bytes of each."""
    return _halves(hashes)[0]


def _halves(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n], twice: the first 8 bytes of each hash, and the others."""
    both = np.ascontiguousarray(hashes).view("<u8").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def first_of(*columns: np.ndarray, least: np.ndarray | int = 0) -> np.ndarray:
    """The numbers, ascending, of the first row, of those with the `least`, for each set of values in `columns`."""
    order, begins = groups(*columns, least=least)
    return np.sort(order[begins])


def groups(*columns: np.ndarray, least: np.ndarray | int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The rows ordered by `columns`, then by `least`, then as they come, and where in that order each set of values in
    `columns` begins."""
    rows = np.arange(len(columns[0]))
    order = np.lexsort([rows, np.broadcast_to(least, rows.shape), *reversed(columns)])
    new = np.ones(len(order), bool)
    if len(order):
        new[1:] = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in columns])
    return order, np.flatnonzero(new)
