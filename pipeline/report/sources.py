"""Rows of a sample -> the first seconds of each recording as its source holds it now, and of its reconstruction."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from actors.contract import SAMPLE_RATE
from pipeline.errors import VoxmillError
from pipeline.loading import Sound, SourceRules, load_audio
from pipeline.run.find_waves import Waves
from pipeline.run.listening import refuse_changed
from pipeline.sources.inside import container_of, find, read
from pipeline.storage.translate import errors_as

LONGEST_S = 20.0
"""What is measured of each recording at most: its beginning."""
FIRST, GROWTH = 6, 8
"""Rows of a sample that are grouped by their containers first, and how the next groups grow."""


@dataclass(frozen=True)
class Heard:
    """A recording of the sample. Both waves float32 [T] at 24 kHz."""

    id: str
    source_rate: int  # Hz
    original: np.ndarray
    decoded: np.ndarray | None  # of the same length; None: the run has no reconstruction of it


def hear(rows: Sequence[dict[str, Any]], waves: Waves, rules: SourceRules) -> Iterator[Heard | None]:
    """Each row of a sample; None for one that cannot be read any more, and for one whose file has another size now.

    Those of one container come together in each of FIRST rows, then GROWTH times as many, and so on: whoever stops
    early has heard a sample of all containers, and a packed tar, which is read from its start each time, was read few
    times.
    """
    begin, size = 0, FIRST
    while begin < len(rows):
        yield from _grouped(rows[begin : begin + size], waves, rules)
        begin, size = begin + size, GROWTH * size


def _grouped(rows: Sequence[dict[str, Any]], waves: Waves, rules: SourceRules) -> Iterator[Heard | None]:
    """Each row; those of a container where the first of them is."""
    members: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        members.setdefault(container_of(row["source"]) or row["source"], []).append(row)
    for place, some in members.items():
        if place != some[0]["source"]:
            yield from _members(place, some, waves, rules)
        else:
            yield from (_heard(row, functools.partial(str, place), waves, rules) for row in some)


def _members(
    container: str, rows: Sequence[dict[str, Any]], waves: Waves, rules: SourceRules
) -> Iterator[Heard | None]:
    """Those of a tar, a zip or a table; reads no further than the last of them."""
    wanted: dict[str, list[dict[str, Any]]] = {}  # a member may be several recordings, a channel each
    for row in rows:
        wanted.setdefault(row["source"], []).append(row)
    with contextlib.suppress(VoxmillError):  # it is gone, or another one
        for found in find(container, list(wanted), rules.column):
            for row in wanted.pop(found.source):
                yield _heard(row, functools.partial(read, found), waves, rules)
    yield from [None] * sum(map(len, wanted.values()))


def _heard(row: dict[str, Any], sound: Callable[[], Sound], waves: Waves, rules: SourceRules) -> Heard | None:
    start_s, length_s = row["start_s"], row["num_samples"] / SAMPLE_RATE
    whole = row["chunks"] == 1 and length_s <= LONGEST_S
    end_s = row["end_s"] if whole else (start_s or 0.0) + min(length_s, LONGEST_S)
    try:
        refuse_changed(row["source"], row["source_size"])
        view = row["channel"], start_s, end_s
        original = load_audio(sound(), *view, track=rules.track, allow_truncated=rules.allow_truncated)
        decoded = _decoded(row, waves)
    except (VoxmillError, soundfile.LibsndfileError):
        return None  # gone, changed, damaged, or of credentials that are not known here: the sample shrinks
    length = len(original) if decoded is None else min(len(original), len(decoded))
    return Heard(row["id"], row["source_rate"], original[:length], None if decoded is None else decoded[:length])


def _decoded(row: dict[str, Any], waves: Waves) -> np.ndarray | None:
    file = waves.open(row["id"], row["part"])
    if file is None:
        return None
    with errors_as(row["id"], VoxmillError), file:
        return soundfile.read(file, frames=math.ceil(LONGEST_S * SAMPLE_RATE), dtype="float32")[0]
