"""Plain files: listed ones, and those that a manifest names -> recordings."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from pipeline.sources.found import Found, Rules
from pipeline.sources.task import RANGE_SCHEMA, UNIT_SCHEMA, InputRecording, Range, ReadTask
from pipeline.storage.location import is_local, redact
from pipeline.storage.opening import open_recording
from pipeline.storage.stamp import UNKNOWN, Stamp
from pipeline.storage.text import clean_id

ROWS = 1_000
"""Units that are Python objects at the same time."""


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """Every file is a recording."""
    return [Found(source, "files", units, recordings=units.num_rows)], 0


def read(task: ReadTask) -> Iterator[InputRecording]:
    """Every file of `task`, in order. Raises nothing: a file that cannot be opened is a recording whose open raises."""
    names = [name for name in UNIT_SCHEMA.names + RANGE_SCHEMA.names if name in task.units.schema.names]
    for batch in task.units.to_batches(max_chunksize=ROWS):
        carried = batch.select(task.carried.names)
        for row, unit in enumerate(batch.select(names).to_pylist()):
            source = clean_id(redact(unit["@location"]))
            yield InputRecording(
                id=unit["@id"],
                source=source,
                name=source.rpartition("/")[2],
                carried={name: column[row] for name, column in zip(carried.schema.names, carried.columns, strict=True)},
                open=partial(open_recording, unit["@location"], task.access),
                start_s=unit["@start_s"] or 0.0,
                end_s=unit["@end_s"],
                range=Range(*(unit[name] for name in RANGE_SCHEMA.names)) if "@samples" in unit else None,
                stamp=UNKNOWN if is_local(unit["@location"]) else Stamp(unit["@size"], unit["@version"]),
            )
