"""At the end of a run: the pieces of long recordings put together, shards that are no part's deleted."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from pyarrow.fs import FileSystem

from pipeline.run.alike import groups
from pipeline.run.keys import Keys, gathered
from pipeline.run.layout import CODES, FILES, WAVES, WaveKind, pieces_path, shards
from pipeline.run.shards import delete_orphans, is_part, keep_one_each
from pipeline.run.write_waves import join_pieces, remove_pieces, waiting
from pipeline.storage.at_once import on_store


def join_long_waves(keys: Keys, kind: WaveKind = FILES) -> int:
    """Put the reconstructions of long recordings together; returns how many. Pieces of failed ones are deleted; those
    of recordings that lack chunks, since this attempt's inputs do not have them, wait for the others.

    Of shards, those that belong to no part of codes are deleted, and waves of recordings that have no codes.
    """
    fs, folder = keys.fs, f"{keys.run}/{WAVES}"
    there = waiting(fs, folder)
    long = [one for one in _long(keys) if pieces_path(folder, one.id) in there] if there else []
    joined = join_each(fs, folder, [(one.id, one.chunks, one.samples) for one in long if one.whole], kind)
    remove_pieces(fs, folder, {pieces_path(folder, one.id) for one in long if not one.whole})
    if kind.layout == "tar":
        delete_orphans(fs, keys.run)
        others = [path for path in shards(fs, folder) if not is_part(path)]
        coded = keys.parts(CODES) if others else []
        keep_one_each(fs, others, np.concatenate([np.empty(0, "S16"), *(part.hashes for part in coded)]))
    return joined


class _Recording(NamedTuple):
    """A recording of several chunks, of which some or all are committed, once each."""

    id: str
    chunks: int
    samples: int  # at 24 kHz, of those that are committed
    whole: bool  # whether all are


def _long(keys: Keys) -> Iterator[_Recording]:
    coded = keys.parts(CODES)
    part, row, hashes, chunks, samples = (
        gathered(coded, name) for name in ("part", "row", "hash", "chunks", "samples")
    )
    order, begins = groups(hashes, chunks)
    for rows in np.split(order, begins[1:]) if len(begins) else ():
        first = rows[0]
        id_ = coded[part[first]].ids[int(row[first])].as_py()
        yield _Recording(id_, int(chunks[first]), int(samples[rows].sum()), len(rows) == chunks[first])


def join_each(fs: FileSystem, folder: str, long: Iterable[tuple[str, int, int]], kind: WaveKind) -> int:
    """`join_pieces` of each (id, chunks, samples); returns how many were waiting."""
    return sum(on_store(fs, lambda one: join_pieces(fs, folder, *one, kind), long))
