"""Parts of a run without some of their rows, and their shards of waves with them."""

import functools
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.layout import CODES
from pipeline.run.shards import delete_shard, follow_part
from pipeline.run.write import part_name, write_table
from pipeline.storage.at_once import on_store

PARTS_AT_ONCE = 4
"""That are rewritten in a store, each in memory: 4,096 chunks of 72 s are 118 MB."""


def keep_rows(fs: FileSystem, kept: Mapping[str, np.ndarray], read: Callable[[str], pa.Table]) -> dict[str, str | None]:
    """Put parts with fewer rows in the place of those at the paths `kept`: of each, the rows that the mask marks. The
    shard of a part of codes goes with it.

    Returns the sha256 of the new parts by name, None for those that are gone. No part is rewritten in place: what
    run.json says of a part stays true if this breaks off. Then some rows are double until a run settles.
    """
    sources: dict[str, str] = {}
    staying = [path for path, mask in kept.items() if mask.any()]
    new = on_store(
        fs, lambda path: _write(fs, path, read(path).filter(pa.array(kept[path])), sources), staying, PARTS_AT_ONCE
    )
    changed: dict[str, str | None] = dict.fromkeys(map(_name, kept))
    changed.update(filter(None, new))  # all new parts are there before an old one goes
    gone = [path for path in kept if changed[_name(path)] is None]  # one with the name of a new part is that part now
    for _ in on_store(fs, functools.partial(_delete, fs), gone):
        pass
    return changed


def _write(fs: FileSystem, old: str, rows: pa.Table, sources: dict[str, str]) -> tuple[str, str | None] | None:
    """Name and sha256 of the part of the `rows` of `old`. None if another thread writes the same rows: `sources` holds,
    of each new part, the old one. A run that is not settled may have them twice."""
    folder, name = old.rpartition("/")[0], part_name(rows)
    if sources.setdefault(f"{folder}/{name}", old) != old:
        return None
    if folder.endswith(f"/{CODES}"):
        follow_part(fs, old, f"{folder}/{name}", rows["id"].to_pylist())
    return name, write_table(rows, fs, f"{folder}/{name}")


def _delete(fs: FileSystem, path: str) -> None:
    fs.delete_file(path)
    delete_shard(fs, path)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
