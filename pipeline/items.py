"""A read task -> its recordings one by one, in a worker. What cannot be opened is an item whose open raises."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby

from pipeline.archive import Archive
from pipeline.fetch import open_recording
from pipeline.files import redact
from pipeline.names import clean_id
from pipeline.parquet import ParquetShard, rows
from pipeline.tar import Shard, members
from pipeline.task import RANGE_SCHEMA, UNIT_SCHEMA, Item, Range, ReadTask

ROWS = 1_000
"""Units that become Python objects at a time."""


def items(task: ReadTask) -> Iterator[Item]:
    """Every recording of `task` that is not committed, in order. Raises nothing: what is broken is an item."""
    if task.kind == "files":
        yield from _files(task)
        return
    done = frozenset(task.done.to_pylist())
    for (id, location), units in groupby(task.units.to_pylist(), key=lambda unit: (unit["@id"], unit["@location"])):
        if task.kind == "tar":
            yield from members(Shard(id, Archive(location, task.access), task.prefixed, task.carried), done)
        else:
            groups = [unit["@row_group"] for unit in units]
            yield from rows(
                ParquetShard(
                    id,
                    location,
                    None if None in groups else groups,
                    task.prefixed,
                    task.column,
                    task.carried,
                    task.access,
                ),
                done,
            )


def _files(task: ReadTask) -> Iterator[Item]:
    names = [name for name in UNIT_SCHEMA.names + RANGE_SCHEMA.names if name in task.units.schema.names]
    for batch in task.units.to_batches(max_chunksize=ROWS):
        carried = batch.select(task.carried.names)
        for row, unit in enumerate(batch.select(names).to_pylist()):
            source = clean_id(redact(unit["@location"]))
            yield Item(
                id=unit["@id"],
                source=source,
                name=source.rpartition("/")[2],
                carried={name: column[row] for name, column in zip(carried.schema.names, carried.columns, strict=True)},
                open=partial(open_recording, unit["@location"], task.access),
                start_s=unit["@start_s"] or 0.0,
                end_s=unit["@end_s"],
                range=Range(*(unit[name] for name in RANGE_SCHEMA.names)) if "@samples" in unit else None,
            )
