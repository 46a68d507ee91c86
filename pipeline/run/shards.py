"""The shards of a folder of waves: which ids they hold, and rewriting them so that no id is there twice.

`part-<hash>.tar` belongs to the part of codes of the same name and goes with it. `long-<hash>.tar` holds one long
recording, whose chunks may lie in several parts; `decoded-<hash>.tar` what was decoded later, from codes.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem, FileType

from pipeline.run.layout import CODES, WAVES, parts, shard_path, shards
from pipeline.run.shard import Entry, cut_shard, read_index
from pipeline.storage.at_once import each_on_store
from pipeline.storage.filesystem import delete_files
from pipeline.storage.id_set import among, hashes_among, id_set
from pipeline.storage.text import id_hashes

READ_AT_ONCE = 16
"""Indexes of shards that are read at the same time: each is a request or two."""


def indexes(fs: FileSystem, paths: Sequence[str]) -> Iterator[tuple[str, list[Entry]]]:
    """The index of each of `paths`, in order. Raises OutputError if one is damaged."""
    with ThreadPoolExecutor(READ_AT_ONCE) as threads:
        for first in range(0, len(paths), 64):  # not all at once: they may be tens of millions of waves
            some = paths[first : first + 64]
            yield from zip(some, threads.map(lambda path: read_index(fs, path), some), strict=True)


def is_part(path: str) -> bool:
    """Whether a shard belongs to a part of codes."""
    return path.rpartition("/")[2].startswith("part-")


def not_in_shards(fs: FileSystem, folder: str, ids: list[str]) -> list[str]:
    """Those of `ids` that no shard in `folder` holds."""
    held = [id_hashes(pa.array([entry.id for entry in found])) for _, found in indexes(fs, shards(fs, folder))]
    there = np.isin(id_hashes(pa.array(ids, pa.string())), np.concatenate([np.empty(0, "S16"), *held]))
    return [id_ for id_, is_there in zip(ids, there.tolist(), strict=True) if not is_there]


def drop_waves(fs: FileSystem, paths: Sequence[str], ids: Collection[str]) -> None:
    """As `drop_hashed`, of `ids` as text."""
    drop_hashed(fs, paths, id_set(pa.array(list(ids), pa.string())))


def drop_hashed(fs: FileSystem, paths: Sequence[str], gone: np.ndarray) -> None:
    """Rewrite those of the shards at `paths` that hold waves of the `id_set` `gone`, without them."""
    _keep(fs, ((path, found, _without(found, gone)) for path, found in indexes(fs, paths)))


def _without(found: list[Entry], gone: np.ndarray) -> list[Entry]:
    stay = ~among(pa.array([entry.id for entry in found], pa.string()), gone)
    return [entry for entry, stays in zip(found, stay.tolist(), strict=True) if stays]


def keep_one_each(fs: FileSystem, paths: Sequence[str], known: np.ndarray | None = None) -> None:
    """Rewrite the shards at `paths` so that each id is in the first that holds it, and its hash (if given) among
    `known`."""
    _keep(fs, _one_each(fs, paths, None if known is None else np.sort(known)))


Trimmed = tuple[str, list[Entry], list[Entry]]
"""The path of a shard, the waves that it holds, those of them that stay."""


def _one_each(fs: FileSystem, paths: Sequence[str], there: np.ndarray | None) -> Iterator[Trimmed]:
    seen: set[bytes] = set()
    for path, found in indexes(fs, paths):
        hashes = id_hashes(pa.array([entry.id for entry in found], pa.string()))
        wanted = np.ones(len(found), bool) if there is None else hashes_among(hashes, there)
        kept = []
        for entry, hash_, is_wanted in zip(found, hashes.tolist(), wanted.tolist(), strict=True):
            if hash_ not in seen and is_wanted:
                kept.append(entry)
            seen.add(hash_)
        yield path, found, kept


def _keep(fs: FileSystem, shards: Iterable[Trimmed]) -> None:
    each_on_store(fs, lambda one: keep_waves(fs, one[0], *one), shards)


def keep_waves(fs: FileSystem, old: str, new: str, found: list[Entry], kept: list[Entry]) -> None:
    """Put the waves `kept` of the shard `old`, which holds `found`, into `new`; `old` itself is deleted if it is `new`
    and nothing stays."""
    if kept and (old != new or len(kept) < len(found)):
        cut_shard(fs, old, new, kept)
    elif not kept and old == new:
        fs.delete_file(old)


def follow_part(fs: FileSystem, old: str, new: str, ids: Collection[str]) -> None:
    """Before the part of codes `new` takes the rows `ids` of the part `old`: their waves go to the shard of `new`."""
    source, kept = _shard_of(old), frozenset(ids)
    found = read_index(fs, source)
    keep_waves(fs, source, _shard_of(new), found, [entry for entry in found if entry.id in kept])


def delete_shard(fs: FileSystem, part: str) -> None:
    """Delete the shard of a part of codes, after the part; a part of failures has none."""
    if fs.get_file_info(_shard_of(part)).type == FileType.File:
        fs.delete_file(_shard_of(part))


def _shard_of(part: str) -> str:
    run = part.rpartition("/")[0].rpartition("/")[0]
    return shard_path(f"{run}/{WAVES}", part)


def delete_orphans(fs: FileSystem, run: str) -> int:
    """Delete the shards of parts that are not there: their writers were killed before their parts. Returns how many."""
    there = {shard_path(f"{run}/{WAVES}", part) for part in parts(fs, run, CODES)}
    orphans = [path for path in shards(fs, f"{run}/{WAVES}") if is_part(path) and path not in there]
    delete_files(fs, orphans)
    return len(orphans)
