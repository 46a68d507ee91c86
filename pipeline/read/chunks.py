"""A read task -> tables of chunk rows, in a worker."""

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from actors.heap import keep_freed
from pipeline.read.reading import Reading
from pipeline.read.source_file import SourceFile
from pipeline.read.tables import tables
from pipeline.schema import CHUNK_SCHEMA, EACH, spoken_ids
from pipeline.sources.formats import files
from pipeline.sources.task import InputRecording, ReadTask

KEPT_BYTES, LARGE_BYTES = 32 << 20, 8 << 20
"""A clip of half a minute takes and frees less than the first; without it a tenth of a short clip's time goes to pages.
A larger array than the second goes back when it is freed."""


def read_chunks(
    task: ReadTask,
    how: Reading,
    carried: pa.Schema,
    partial: Mapping[str, frozenset[int]],
    find: Callable[[ReadTask], Iterator[list[InputRecording]]] = files,
    most_rows: int = 1,
) -> Iterator[pa.Table]:
    """A read task -> its recordings' chunks, one row each. A recording that cannot be read is one row that says why.

    Chunks in `partial`, by the recording's id, are committed already. `most_rows`: of a table, see `tables`.
    """
    keep_freed(KEPT_BYTES, LARGE_BYTES)
    schema = pa.unify_schemas([CHUNK_SCHEMA, carried])
    done = frozenset(task.done.to_pylist() if task.vad or EACH in (task.channel, *_channels(task)) else ())
    spoken = _stretches(task.done) if task.vad else None
    files_of = (SourceFile(items, how, done, partial, spoken) for items in find(task))
    rows = (item.carried | values for file in files_of for item, values in file.rows())
    yield from tables(rows, schema, most_rows)


def _channels(task: ReadTask) -> set[int | None]:
    return set() if task.listed else set(task.units["@channel"].unique().to_pylist())


def _stretches(done: pa.Array) -> dict[str, set[str]]:
    """Of the ids `done` those of stretches of speech, by the id of what they are stretches of."""
    found: dict[str, set[str]] = {}
    for own, id_ in zip(spoken_ids(done).to_pylist(), done.to_pylist(), strict=True):
        if own != id_:
            found.setdefault(own, set()).add(id_)
    return found
