"""Parts of a run without some of their rows, and their shards of waves with them."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.layout import CODES
from pipeline.run.shards import delete_shard, follow_part
from pipeline.run.write import part_name, write_table


def keep_rows(fs: FileSystem, kept: Mapping[str, np.ndarray], read: Callable[[str], pa.Table]) -> dict[str, str | None]:
    """Put parts with fewer rows in the place of those at the paths `kept`: of each, the rows that the mask marks. The
    shard of a part of codes goes with it.

    Returns the sha256 of the new parts by name, None for those that are gone. No part is rewritten in place: what
    run.json says of a part stays true if this breaks off. Then some rows are double until a run settles.
    """
    changed: dict[str, str | None] = {}
    for path, mask in kept.items():
        folder, _, old = path.rpartition("/")
        rows = read(path).filter(pa.array(mask))
        changed.setdefault(old, None)  # it may have the name of a new one, and is then that one
        if len(rows):
            name = part_name(rows)
            if folder.endswith(f"/{CODES}"):
                follow_part(fs, path, f"{folder}/{name}", rows["id"].to_pylist())
            changed[name] = write_table(rows, fs, f"{folder}/{name}")
    for path in kept:
        if changed[path.rpartition("/")[2]] is None:
            fs.delete_file(path)
            delete_shard(fs, path)
    return changed
