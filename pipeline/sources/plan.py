"""What the inputs hold, without what is committed -> read tasks of similar size, on the driver. Rows stay in Arrow."""

import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import parents
from pipeline.sources.committed import Committed, chunked, fresh
from pipeline.sources.formats import FORMATS, recordings
from pipeline.sources.found import Found
from pipeline.sources.inputs import Discovered, discover_all
from pipeline.sources.limit import first_recordings
from pipeline.sources.pieces import OPEN_BYTES, by_file, split
from pipeline.sources.read_through import ReadThrough
from pipeline.sources.rows import kept, nulls
from pipeline.sources.split import share
from pipeline.sources.task import NONE, UNIT_SCHEMA, Kind, ReadTask
from pipeline.storage.access import DEFAULT, Access
from pipeline.storage.id_set import among, id_set
from pipeline.storage.location import redact
from pipeline.storage.text import clean_id

MAX_TASKS = 20_000
"""More make Ray's driver the bottleneck (17-50 ms a block); larger inputs get larger tasks."""
FILE_TASKS = 16
"""Tasks' worth of segments of one file that stay in one task: most formats are decoded from the beginning by each."""


@dataclass(frozen=True)
class Plan:
    """All that is to be read."""

    tasks: list[ReadTask]
    carried: pa.Schema  # as in Discovered
    recordings: int | None  # to read; None where only opening a tar shard, or a file (its channels, its speech), tells
    passed_over: Counter[str]  # as in Discovered
    cut: bool = False  # a limit left recordings out; of containers, it may have


def plan(
    inputs: Sequence[str],
    *,
    column: str | None = None,
    access: Access = DEFAULT,
    root: str | None = None,
    channel: int | None = None,
    vad: bool = False,
    done: pa.Array | pa.ChunkedArray | None = None,
    **how: Any,
) -> Plan:
    """`discover_all`, then `divide` with `how`."""
    return divide(discover_all(inputs, column, access, root=root, channel=channel, vad=vad), done, **how)


def divide(
    inputs: Discovered,
    done: pa.Array | pa.ChunkedArray | None = None,
    *,
    read_through: ReadThrough | None = None,
    task_bytes: int = 64 << 20,
    parallelism: int = 1,
    chunk_samples: int | None = None,
    max_recording_s: float = math.inf,
    limit: int | None = None,
) -> Plan:
    """Divide the reading of `inputs`, without the recordings whose ids are in `done`, into tasks. Containers that were
    `read_through` to their end by earlier attempts, and of which all is committed, are not opened.

    A task holds about `task_bytes` of encoded audio, less where that would be fewer than 2 * `parallelism` tasks. With
    `chunk_samples` (at 24 kHz), tasks share a large local WAV of several chunks, unless it is longer than
    `max_recording_s`. `limit`: only the first recordings, files before members of containers, each in the order of the
    inputs, committed ones counted; then one task reads all containers of a kind, because only reading counts them.
    """
    found, carried = inputs.found, inputs.carried
    known = chunked(done)
    units = {kind: _joined([one for one in found if one.kind == kind], kind, carried) for kind in FORMATS}
    every, chosen = units, first_recordings(units, limit, functools.partial(_count, inputs))
    units, containers = dict(chosen.units), {kind: some for kind, some in chosen.units.items() if kind != "files"}
    units["files"] = by_file(fresh(units["files"], known))
    files = units["files"].num_rows
    skipped = chosen.units["files"].num_rows - files
    cut = chosen.cut and _left_out(inputs, every, known, read_through, files)
    if read_through is not None:
        for held in containers.keys() - chosen.limits.keys():
            units[held] = read_through.left(task_of(inputs, held, units[held]))
    target = _target(units, task_bytes, parallelism)
    shared: list[pa.Table] = []
    if chunk_samples is not None and not inputs.vad:
        units["files"], ranges = share(units["files"], target, chunk_samples, max_recording_s, inputs.access)
        shared = [ranges.slice(row, 1) for row in range(ranges.num_rows)]
    pieces: list[tuple[Kind, pa.Table]] = [("files", piece) for piece in shared]
    for kind in FORMATS:
        keep = FILE_TASKS * task_bytes if kind == "files" else 1
        whole = kind in chosen.limits  # only one task can count
        pieces += [(kind, piece) for piece in ([units[kind]] if whole else split(units[kind], target, keep))]
    tasks = [task_of(inputs, kind, piece, chosen.limits.get(kind)) for kind, piece in pieces]
    if all(task.listed for task in tasks):
        return Plan(tasks, carried, files, inputs.passed_over, cut)
    committed = Committed(known, inputs.prefixed)
    tasks = [task if task.listed else replace(task, done=committed.within(task)) for task in tasks]
    counted = inputs.prefixed or not len(known)  # else no id tells whether it is of these containers
    number = inputs.recordings if counted and not chosen.cut else None
    if number is not None:
        skipped_in = sum(len(committed.within(task_of(inputs, kind, some))) for kind, some in containers.items())
        number = max(0, number - skipped - skipped_in)
    return Plan(tasks, carried, number, inputs.passed_over, cut)


def _left_out(
    inputs: Discovered,
    every: Mapping[Kind, pa.Table],
    known: pa.ChunkedArray,
    read_through: ReadThrough | None,
    files: int,
) -> bool:
    """Whether a limit leaves out more than what is `known`: files besides those `files` that are to be read; members of
    containers, unless all of those were `read_through`."""
    if len(fresh(every["files"], known)) > files:
        return True
    return any(
        len(some if read_through is None else read_through.left(task_of(inputs, kind, some)))
        for kind, some in every.items()
        if kind != "files" and len(some)
    )


def task_of(inputs: Discovered, kind: Kind, units: pa.Table, limit: int | None = None) -> ReadTask:
    """A task that reads `units`, nothing of which is committed."""
    how = (inputs.prefixed, inputs.column, inputs.access, inputs.channel, limit, inputs.vad)
    return ReadTask(kind, units, inputs.carried, NONE, *how)


def _count(inputs: Discovered, kind: Kind, units: pa.Table, most: int) -> int:
    """Recordings in containers, `most` at most. Opens and reads them."""
    return sum(1 for _ in recordings(task_of(inputs, kind, units, most)))


def remaining(planned: Plan, done: pa.Array | pa.ChunkedArray, held: Mapping[int, pa.Array | Iterable[str]]) -> Plan:
    """What of `planned` is not in `done`, the ids of committed recordings.

    `held`: of a task that is not `listed`, by its number, the ids that its reader came across. A container is read
    again where one of them is missing, or where no reader came to its end; so is a file that is split into channels or
    stretches of speech.
    """
    known, committed = id_set(done), None
    files = [task.units["@id"] for task in planned.tasks if task.kind == "files"]
    missing = ~among(pa.chunked_array([chunk for ids in files for chunk in ids.chunks], pa.string()), known)
    of_task = iter(np.split(missing, np.cumsum([len(ids) for ids in files])))
    tasks = []
    for number, task in enumerate(planned.tasks):
        ids = pa.array(held.get(number, []), pa.string())
        lost = ids.filter(pa.array(~among(ids, known))) if len(ids) else ids
        if task.kind == "files":
            again = among(task.units["@id"], id_set(parents(lost))) if len(lost) else False
            task = replace(task, units=kept(task.units, next(of_task) | again))
        if task.listed and len(task.units):
            tasks.append(task)
        elif not task.listed and (number not in held or len(lost)):
            committed = committed or Committed(chunked(done), task.prefixed)
            tasks.append(replace(task, done=committed.within(task)))
    listed = all(task.listed for task in tasks)
    return replace(planned, tasks=tasks, recordings=sum(len(t.units) for t in tasks) if listed else None)


def unread(left: Plan) -> Iterator[dict[str, Any]]:
    """id and fingerprint of everything in `left`: recordings, or containers that hold some."""
    for task in left.tasks:
        for unit in task.units.select(UNIT_SCHEMA.names).to_pylist():
            named = {"id": unit["@id"], "source": clean_id(redact(unit["@location"]))}
            yield named | {"start_s": unit["@start_s"] or None, "end_s": unit["@end_s"], "channel": unit["@channel"]}


def _joined(found: Sequence[Found], kind: Kind, carried: pa.Schema) -> pa.Table:
    """The units of all inputs of a kind, in the order of the inputs; absent columns null."""
    schema = pa.unify_schemas([UNIT_SCHEMA, carried]) if kind == "files" else UNIT_SCHEMA
    tables = [schema.empty_table()]
    for one in found:
        names = one.units.schema.names
        columns = [
            one.units[f.name].cast(f.type) if f.name in names else nulls(one.units.num_rows, f.type) for f in schema
        ]
        tables.append(pa.table(columns, schema=schema))
    return pa.concat_tables(tables)


def _target(units: dict[Kind, pa.Table], task_bytes: int, parallelism: int) -> int:
    """Bytes of one task."""
    total = sum((pc.sum(table["@bytes"]).as_py() or 0) + OPEN_BYTES * table.num_rows for table in units.values())
    return max(1, total // MAX_TASKS, min(task_bytes, total // (2 * max(1, parallelism))))
