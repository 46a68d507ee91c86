"""Plain files: listed ones, and those that a manifest names -> recordings."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO

import pyarrow as pa

from pipeline.errors import UnreadableAudio
from pipeline.sources.found import Found, Rules
from pipeline.sources.members import fail
from pipeline.sources.task import RANGE_SCHEMA, UNIT_SCHEMA, InputRecording, Range, ReadTask
from pipeline.storage.access import Access
from pipeline.storage.at_once import at_once
from pipeline.storage.location import is_local, redact
from pipeline.storage.opening import AHEAD_BYTES, fetched, open_recording, rewound
from pipeline.storage.stamp import UNKNOWN, Stamp
from pipeline.storage.text import clean_id

ROWS = 1_000
"""Units that are Python objects at the same time."""
Open = Callable[[], AbstractContextManager[BinaryIO]]
Place = tuple[str, int]
"""A location, and its bytes as listed or estimated."""


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """Every file is a recording."""
    return [Found(source, "files", units, recordings=units.num_rows)], 0


def read(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of `task`, in order; neighbours of one file have one `open`.

    Raises nothing: a file that cannot be opened is a recording whose open raises.
    """
    openers, place = _openers(task), None
    names = [name for name in UNIT_SCHEMA.names + RANGE_SCHEMA.names if name in task.units.schema.names]
    for batch in task.units.to_batches(max_chunksize=ROWS):
        carried = batch.select(task.carried.names)
        for row, unit in enumerate(batch.select(names).to_pylist()):
            source = clean_id(redact(unit["@location"]))
            if place is None or unit["@location"] != place:
                place, opener = unit["@location"], next(openers)
            yield InputRecording(
                id=unit["@id"],
                source=source,
                name=source.rpartition("/")[2],
                carried={name: column[row] for name, column in zip(carried.schema.names, carried.columns, strict=True)},
                open=opener,
                start_s=unit["@start_s"] or 0.0,
                end_s=unit["@end_s"],
                channel=unit["@channel"],
                range=Range(*(unit[name] for name in RANGE_SCHEMA.names)) if "@samples" in unit else None,
                stamp=UNKNOWN if is_local(unit["@location"]) else Stamp(unit["@size"], unit["@version"]),
            )


def _openers(task: ReadTask) -> Iterator[Open]:
    """Of the files of `task`, each once where neighbours are of one file. Small remote ones are fetched `ahead`."""
    places = _places(task.units)
    if task.ahead and any(not is_local(one) for one in task.units["@location"].unique().to_pylist()):
        return at_once(partial(_opener, task.access), places)
    return (partial(open_recording, location, task.access) for location, _ in places)


def _places(units: pa.Table) -> Iterator[Place]:
    batches = units.select(["@location", "@bytes"]).to_batches(max_chunksize=ROWS)
    rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
    return (next(same) for _, same in groupby(rows, key=itemgetter(0)))


def _opener(access: Access, place: Place) -> Open:
    location, size = place
    again = partial(open_recording, location, access)
    if is_local(location) or size > AHEAD_BYTES:
        return again
    try:
        file = fetched(location, access)
    except UnreadableAudio as error:
        return partial(fail, error)
    return again if file is None else partial(rewound, file)
