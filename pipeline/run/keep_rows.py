"""Parts of a run without some of their rows, and their shards of waves with them."""

from collections.abc import Callable, Mapping
from threading import Lock

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.layout import CODES
from pipeline.run.shards import delete_shard, follow_part
from pipeline.run.write import part_name, write_table
from pipeline.storage.at_once import each_on_store

PARTS_AT_ONCE = 4
"""That are rewritten in a store, each in memory: 4,096 chunks of 72 s are 118 MB."""


def keep_rows(fs: FileSystem, kept: Mapping[str, np.ndarray], read: Callable[[str], pa.Table]) -> dict[str, str | None]:
    """Put parts with fewer rows in the place of those at the paths `kept`: of each, the rows that the mask marks. The
    shard of a part of codes goes with it.

    Returns the sha256 of the new parts by name, None for those that are gone. No part is rewritten in place: what
    run.json says of a part stays true if this breaks off. Then some rows are double until a run settles.
    """
    changed: dict[str, str | None] = dict.fromkeys(map(_name, kept))
    locks: dict[str, Lock] = {}

    def rewrite(path: str) -> None:
        folder, rows = path.rpartition("/")[0], read(path).filter(pa.array(kept[path]))
        name = part_name(rows)
        with locks.setdefault(name, Lock()):  # in a run that is not settled, two parts may keep the same rows
            if folder.endswith(f"/{CODES}"):
                follow_part(fs, path, f"{folder}/{name}", rows["id"].to_pylist())
            changed[name] = write_table(rows, fs, f"{folder}/{name}")

    def delete(path: str) -> None:
        fs.delete_file(path)
        delete_shard(fs, path)

    each_on_store(fs, rewrite, [path for path, mask in kept.items() if mask.any()], PARTS_AT_ONCE)
    # All new parts are there before an old one goes. One may have the name of a new one, and is that one now.
    each_on_store(fs, delete, [path for path in kept if changed[_name(path)] is None])
    return changed


def _name(path: str) -> str:
    return path.rpartition("/")[2]
