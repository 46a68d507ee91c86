"""Hashes of ids ("S16", see `id_hashes`) -> which rows share one, which are among others. No Python object a row."""

from collections.abc import Sequence

import numpy as np


def shared(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers, ascending and over all arrays, of rows whose hash begins as another row's does.

    That is every row whose hash is there twice; of 50 M different ids, two others in one run of ten thousand: 8 bytes
    are compared, which sort many times faster than 16. Takes 24 bytes a row.
    """
    found = np.concatenate([np.empty(0, np.uint64), *map(_beginnings, hashes)])
    order = np.argsort(found)
    found = found[order]
    same = found[1:] == found[:-1]
    twice = np.zeros(len(found), bool)
    twice[1:] = same
    twice[:-1] |= same
    return np.sort(order[twice])


def absent(hashes: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> np.ndarray:
    """bool, over all arrays of `hashes`: not among `known`. By their first 8 bytes: that one of 50 M known ids hides an
    absent one has a chance of 3e-12. Takes 8 bytes a known row, 25 a row of `hashes`."""
    there = np.concatenate([np.empty(0, np.uint64), *map(_beginnings, known)])
    there.sort()
    found = np.concatenate([np.empty(0, np.uint64), *map(_beginnings, hashes)])
    if not len(there):
        return np.ones(len(found), bool)
    order = np.argsort(found)
    found = found[order]  # in order, so that neighbours are looked up beside each other
    at = np.minimum(np.searchsorted(there, found), len(there) - 1)
    result = np.empty(len(found), bool)
    result[order] = there[at] != found
    return result


def _beginnings(hashes: np.ndarray) -> np.ndarray:
    """uint64 [n]: the first 8 bytes of each."""
    return np.ascontiguousarray(hashes).view("<u8").reshape(-1, 2)[:, 0]


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
