"""At the end of a run: the pieces of long recordings put together, shards that are no part's deleted."""

from collections.abc import Iterable

import numpy as np
from pyarrow.fs import FileSelector, FileSystem

from pipeline.run.alike import groups
from pipeline.run.keys import Keys, gathered, keys_of
from pipeline.run.layout import CODES, FILES, PIECES, WAVES, WaveKind, pieces_path, shards
from pipeline.run.shards import delete_orphans, is_part, keep_one_each
from pipeline.run.write_waves import join_pieces, remove_pieces
from pipeline.storage.at_once import on_store


def join_long_waves(fs: FileSystem, run: str, kind: WaveKind = FILES, keys: Keys | None = None) -> int:
    """Put the reconstructions of long recordings together; returns how many. Pieces of failed ones are deleted.

    Of shards, those that belong to no part of codes are deleted, and waves of recordings that have no codes.
    """
    folder = f"{run}/{WAVES}"
    waiting = {info.path for info in fs.get_file_info(FileSelector(f"{folder}/{PIECES}", allow_not_found=True))}
    joined = _join(fs, folder, kind, keys_of(fs, run, keys), waiting) if waiting else 0
    remove_pieces(fs, folder)
    if kind.layout == "tar":
        delete_orphans(fs, run)
        others = [path for path in shards(fs, folder) if not is_part(path)]
        coded = keys_of(fs, run, keys).parts(CODES) if others else []
        keep_one_each(fs, others, np.concatenate([np.empty(0, "S16"), *(part.hashes for part in coded)]))
    return joined


def _join(fs: FileSystem, folder: str, kind: WaveKind, keys: Keys, waiting: set[str]) -> int:
    coded = keys.parts(CODES)
    part, row, hashes, chunks, samples = (
        gathered(coded, name) for name in ("part", "row", "hash", "chunks", "samples")
    )
    order, begins = groups(hashes, chunks)
    sums = np.add.reduceat(samples[order], begins) if len(begins) else samples
    firsts = zip(order[begins].tolist(), sums.tolist(), strict=True)
    long = ((coded[part[at]].ids[int(row[at])].as_py(), int(chunks[at]), samples) for at, samples in firsts)
    there = (one for one in long if pieces_path(folder, one[0]) in waiting)
    return join_each(fs, folder, there, kind)


def join_each(fs: FileSystem, folder: str, long: Iterable[tuple[str, int, int]], kind: WaveKind) -> int:
    """`join_pieces` of each (id, chunks, samples); returns how many were waiting."""
    return sum(on_store(fs, lambda one: join_pieces(fs, folder, *one, kind), long))
