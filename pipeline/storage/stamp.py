"""What tells two contents of one location apart: the size in bytes, and the version that its store gives."""

import os
import time
from collections.abc import Sequence
from itertools import chain
from typing import BinaryIO, NamedTuple

import numpy as np

from pipeline.storage.at_once import at_once

STATS = 16
"""Files that a thread looks up at a time."""
SLOW_S = 50e-6
"""A file: 5 µs on a disk whose folders are in memory, where threads only cost; some 1 ms on a network's."""


class Stamp(NamedTuple):
    """Of a file or an object. None: its store does not tell."""

    size: int | None  # bytes
    version: str | None  # an entity tag in quotes (http), or the time of the last change


UNKNOWN = Stamp(None, None)


def told(stamp: Stamp) -> str:
    """ "3,000 bytes, version 2024-05-01T10:00:00Z", as far as it is known."""
    words = [f"{stamp.size:,} bytes"] if stamp.size is not None else []
    return ", ".join(words + ([f"version {stamp.version}"] if stamp.version is not None else []))


def modified(nanoseconds: int | None) -> str | None:
    """A time since 1970 as a version: ISO 8601 in UTC, to the second where there is no fraction."""
    if nanoseconds is None:
        return None
    time = np.datetime64(nanoseconds, "ns")
    return f"{time if nanoseconds % 10**9 else time.astype('datetime64[s]')}Z"


def stamp_of(file: BinaryIO) -> Stamp:
    """Of an open file: the `stamp` that it carries (see opening.py), or its status on a local disk."""
    known = getattr(file, "stamp", None)
    if known is not None:
        return known
    try:
        status = os.fstat(file.fileno())
    except OSError:  # in memory
        return UNKNOWN
    return Stamp(status.st_size, modified(status.st_mtime_ns))


def local_stamp(path: str) -> Stamp:
    """Of a path on a local disk; unknown where it cannot be looked up."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return UNKNOWN
    return Stamp(status.st_size, modified(status.st_mtime_ns))


def local_stamps(paths: Sequence[str | None]) -> list[Stamp]:
    """`local_stamp` of each, None: unknown. Side by side where the first ones are slow."""
    began_s = time.perf_counter()
    first = _stamps(paths[:STATS])
    slow = time.perf_counter() - began_s > SLOW_S * len(first)
    others = [paths[begin : begin + STATS] for begin in range(STATS, len(paths), STATS)]
    return [*first, *chain.from_iterable(at_once(_stamps, others) if slow else map(_stamps, others))]


def _stamps(paths: Sequence[str | None]) -> list[Stamp]:
    return [UNKNOWN if path is None else local_stamp(path) for path in paths]


def same_content(one: Stamp, other: Stamp) -> bool:
    """False where both tell something and tell it differently. An entity tag says nothing about a time."""
    sizes = None not in (one.size, other.size) and one.size != other.size
    if one.version is None or other.version is None or one.version.startswith('"') != other.version.startswith('"'):
        return not sizes
    return not sizes and one.version == other.version
