"""Failures that a retry tries again: their rows wait in RUN/.retrying until their recordings have come to something.

They are never in memory alone: whatever stops a retry, the next command puts back what it did not come to.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem, FileType

from pipeline.run.committed import committed
from pipeline.run.keys import Keys
from pipeline.run.layout import FAILURES, RETRYING, parts
from pipeline.run.parts import read_part
from pipeline.run.write import write_table
from pipeline.schema import FAILURES_SCHEMA
from pipeline.storage.at_once import on_store
from pipeline.storage.filesystem import delete_files


def set_aside(fs: FileSystem, run: str, errors: Sequence[str]) -> None:
    """Move the failures of the kinds `errors` (of all kinds if none is given) from RUN/failures to RUN/.retrying."""

    def move(path: str) -> None:
        rows = read_part(fs, path, FAILURES_SCHEMA)
        kinds = pa.array(errors, pa.string()) if errors else rows["error"].unique()
        mask = pc.is_in(rows["error"], value_set=kinds)
        gone, staying = rows.filter(mask), rows.filter(pc.invert(mask))
        if len(gone):
            write_table(gone, fs, f"{run}/{RETRYING}/{path.rpartition('/')[2]}")
        if len(gone) and len(staying):
            write_table(staying, fs, path)
        elif len(gone):
            fs.delete_file(path)

    for _ in on_store(fs, move, parts(fs, run, FAILURES)):
        pass


def put_back(fs: FileSystem, run: str, keys: Keys | None = None) -> list[str]:
    """Restore the failures of recordings that nothing is committed of; returns their ids. Only who has the lock may."""
    waiting = parts(fs, run, RETRYING)
    if not waiting:
        return []
    tables = list(on_store(fs, lambda path: read_part(fs, path, FAILURES_SCHEMA), waiting))
    known = committed(fs, run, keys=keys and keys.refresh()).ids
    missing = pc.invert(pc.is_in(pa.chunked_array([id_ for rows in tables for id_ in rows["id"].chunks]), known))
    restored: list[str] = []
    for path, rows in zip(waiting, tables, strict=True):
        mask, missing = missing[: len(rows)], missing[len(rows) :]
        if pc.any(mask).as_py():
            part = f"{run}/{FAILURES}/{path.rpartition('/')[2]}"
            held = fs.get_file_info(part).type == FileType.File
            there = [read_part(fs, part, FAILURES_SCHEMA)] if held else []
            write_table(pa.concat_tables([*there, rows.filter(mask)]), fs, part)
            restored += rows["id"].filter(mask).to_pylist()
    delete_files(fs, waiting)
    return restored
