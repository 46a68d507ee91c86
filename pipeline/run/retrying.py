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
from pipeline.storage.at_once import each_on_store, on_store


def set_aside(fs: FileSystem, run: str, errors: Sequence[str]) -> None:
    """Move the failures of the kinds `errors` (of all kinds if none is given) from RUN/failures to RUN/.retrying."""

    def move(path: str) -> None:
        rows = read_part(fs, path, FAILURES_SCHEMA)
        kinds = pa.array(errors, pa.string()) if errors else rows["error"].unique()
        mask = pc.is_in(rows["error"], value_set=kinds)
        gone, staying = rows.filter(mask), rows.filter(pc.invert(mask))
        if len(gone):
            _add(fs, f"{run}/{RETRYING}/{_name(path)}", gone)
        if len(gone) and len(staying):
            write_table(staying, fs, path)
        elif len(gone):
            fs.delete_file(path)

    each_on_store(fs, move, parts(fs, run, FAILURES))


def waiting_ids(fs: FileSystem, run: str) -> list[str]:
    """The ids of the failures that are set aside."""
    return [id_ for _, rows in _waiting(fs, run) for id_ in rows["id"].to_pylist()]


def put_back(keys: Keys) -> list[str]:
    """Restore the failures of recordings that nothing is committed of; returns their ids. Those of recordings of which
    some chunks are committed wait on: a failure beside codes would be settled one way or the other. Only who has the
    lock may.
    """
    fs, waiting = keys.fs, _waiting(keys.fs, keys.run)
    if not waiting:
        return []
    done = committed(keys.refresh())
    every = pa.chunked_array([chunk for _, rows in waiting for chunk in rows["id"].chunks], pa.string())
    known = pc.is_in(every, value_set=done.ids)
    half = pc.is_in(every, value_set=pa.array([*done.partial], pa.string()))
    restored: list[str] = []
    for path, rows in waiting:
        whole, known = known[: len(rows)], known[len(rows) :]
        begun, half = half[: len(rows)], half[len(rows) :]
        missing, left = rows.filter(pc.invert(pc.or_(whole, begun))), rows.filter(begun)
        if len(missing):
            _add(fs, f"{keys.run}/{FAILURES}/{_name(path)}", missing)
            restored += missing["id"].to_pylist()
        if not len(left):
            fs.delete_file(path)
        elif len(left) < len(rows):
            write_table(left, fs, path)
    return restored


def _waiting(fs: FileSystem, run: str) -> list[tuple[str, pa.Table]]:
    paths = parts(fs, run, RETRYING)
    return list(zip(paths, on_store(fs, lambda path: read_part(fs, path, FAILURES_SCHEMA), paths), strict=True))


def _add(fs: FileSystem, path: str, rows: pa.Table) -> None:
    """Write `rows` to a part, with what it holds of other ids."""
    if fs.get_file_info(path).type == FileType.File:
        there = read_part(fs, path, FAILURES_SCHEMA)
        others = there.filter(pc.invert(pc.is_in(there["id"], value_set=rows["id"].combine_chunks())))
        rows = pa.concat_tables([others, rows])
    write_table(rows, fs, path)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
