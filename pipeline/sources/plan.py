"""Inputs as the user typed them -> read tasks of similar size, on the driver. Rows stay in Arrow.

Ids are relative to the input given: below a folder or a glob's fixed part, the path; a single file, its name; a
manifest, its "id" column or the path as written; in a container, its own id, "/" and the member's name, or the bare
member's name where the container is the only input.
"""

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.discover import discover
from pipeline.sources.formats import FORMATS, suffixes
from pipeline.sources.found import Found, Rules
from pipeline.sources.split import share
from pipeline.sources.task import UNIT_SCHEMA, Kind, ReadTask
from pipeline.storage.access import DEFAULT, Access
from pipeline.storage.location import redact
from pipeline.storage.text import clean_id, id_hashes

MAX_TASKS = 20_000
"""More make Ray's driver the bottleneck (17-50 ms a block); larger inputs get larger tasks."""
OPEN_BYTES = 64 << 10
"""What opening a file weighs, in bytes of reading: a task of tiny files is not to take an hour of requests."""


@dataclass(frozen=True)
class Discovered:
    """What the inputs hold."""

    found: list[Found]
    carried: pa.Schema  # columns that travel to the output, under names that it does not use itself
    passed_over: int  # hidden files and folders, and files that are no audio
    runs: list[str]  # runs below the inputs, which are passed over too
    column: str | None
    access: Access

    @property
    def prefixed(self) -> bool:
        """Whether the ids of a container's recordings start with the container's own."""
        return not (len(self.found) == 1 and self.found[0].alone)


@dataclass(frozen=True)
class Plan:
    """All that is to be read."""

    tasks: list[ReadTask]
    carried: pa.Schema  # as in Discovered
    recordings: int | None  # to read; None where only opening a tar shard would tell
    passed_over: int  # as in Discovered
    skipped: int  # files that are committed already; containers skip theirs while they are read


def plan(
    inputs: Sequence[str],
    *,
    column: str | None = None,
    access: Access = DEFAULT,
    done: pa.Array | pa.ChunkedArray | None = None,
    **how: Any,
) -> Plan:
    """`discover_all`, then `divide` with `how`."""
    return divide(discover_all(inputs, column, access), done, **how)


def discover_all(inputs: Sequence[str], column: str | None = None, access: Access = DEFAULT) -> Discovered:
    """What `inputs` hold. `column` names the path (or audio) column of manifests and Parquet shards.

    Raises InputError: a missing path, no audio, a scheme that is not allowed, two recordings of one id, columns that do
    not fit together.
    """
    rules, passed_over = Rules(column, access), 0
    found: list[Found] = []
    runs: list[str] = []
    for location in inputs:
        more, passed, inside = discover(location, rules)
        found += more
        passed_over += passed
        runs += inside
    if not sum(one.units.num_rows for one in found):
        raise InputError(_nothing(inputs, passed_over))
    carried = unify(found)
    refuse_duplicates(found)
    return Discovered(found, carried, passed_over, runs, column, access)


def divide(
    inputs: Discovered,
    done: pa.Array | pa.ChunkedArray | None = None,
    *,
    task_bytes: int = 64 << 20,
    parallelism: int = 1,
    chunk_samples: int | None = None,
    max_recording_s: float = math.inf,
) -> Plan:
    """Divide the reading of `inputs`, without the recordings whose ids are in `done`, into tasks.

    A task holds about `task_bytes` of encoded audio, less where that would be fewer than 2 * `parallelism` tasks. With
    `chunk_samples` (at 24 kHz), tasks share a large local WAV of several chunks, unless it is longer than
    `max_recording_s`.
    """
    found, carried = inputs.found, inputs.carried
    known = _one_array(pa.array([], pa.large_string()) if done is None else done)
    units = {kind: _joined([one for one in found if one.kind == kind], kind, carried) for kind in FORMATS}
    units["files"], skipped = _fresh(units["files"], known)
    target = _target(units, task_bytes, parallelism)
    shared: list[pa.Table] = []
    if chunk_samples is not None:
        units["files"], ranges = share(units["files"], target, chunk_samples, max_recording_s, inputs.access)
        shared = [ranges.slice(row, 1) for row in range(ranges.num_rows)]
    pieces: list[tuple[Kind, pa.Table]] = [("files", piece) for piece in shared]
    pieces += [(kind, piece) for kind in FORMATS for piece in split(units[kind], target)]
    committed = Committed(known, inputs.prefixed) if any(kind != "files" for kind, _ in pieces) else None
    tasks = [
        ReadTask(kind, piece, carried, _done(committed, kind, piece), inputs.prefixed, inputs.column, inputs.access)
        for kind, piece in pieces
    ]
    counts = [one.recordings for one in found]
    recordings = None if None in counts else sum(count or 0 for count in counts) - skipped
    return Plan(tasks, carried, recordings, inputs.passed_over, skipped)


def remaining(planned: Plan, done: pa.Array, held: Mapping[int, Iterable[str]]) -> Plan:
    """What of `planned` is not in `done`, the ids of committed recordings.

    `held`: of a task of containers, by its number, the ids that its reader came across. A container is read again where
    one of them is missing, or where no reader came to its end.
    """
    known = np.unique(id_hashes(done))
    committed: Committed | None = None
    tasks = []
    for number, task in enumerate(planned.tasks):
        if task.kind == "files":
            missing = np.isin(id_hashes(task.units["@id"]), known, invert=True)
            if missing.any():
                tasks.append(replace(task, units=task.units.filter(pa.array(missing))))
        elif number not in held or not np.isin(id_hashes(pa.array(held[number], pa.string())), known).all():
            committed = committed or Committed(done, task.prefixed)
            tasks.append(replace(task, done=committed.within(task.units)))
    containers = any(task.kind != "files" for task in tasks)
    return replace(planned, tasks=tasks, recordings=None if containers else sum(len(t.units) for t in tasks))


def unread(left: Plan) -> Iterator[dict[str, Any]]:
    """id and fingerprint of everything in `left`: recordings, or containers that hold some."""
    for task in left.tasks:
        for unit in task.units.select(UNIT_SCHEMA.names).to_pylist():
            named = {"id": unit["@id"], "source": clean_id(redact(unit["@location"]))}
            yield named | {"start_s": unit["@start_s"] or None, "end_s": unit["@end_s"]}


def unify(found: Sequence[Found]) -> pa.Schema:
    """One schema for the columns that travel. Integers and floats widen; other conflicts name both inputs."""
    whole, origin = pa.schema([]), dict[str, tuple[pa.DataType, str]]()
    for one in found:
        try:
            whole = pa.unify_schemas([whole, one.carried], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise InputError(_conflict(one, origin)) from None
        for column in one.carried:
            origin.setdefault(column.name, (column.type, one.source))
    return whole


def _conflict(one: Found, origin: dict[str, tuple[pa.DataType, str]]) -> str:
    for column in one.carried:
        kind, source = origin.get(column.name, (column.type, ""))
        try:
            pa.unify_schemas([pa.schema([(column.name, kind)]), pa.schema([column])], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return (
                f"column {column.name!r} is {kind} in {source} and {column.type} in {one.source}: columns that travel"
                " need one type; convert or rename one of them"
            )
    return f"the columns of {one.source} do not fit those of the other inputs"


def refuse_duplicates(found: Sequence[Found]) -> None:
    """Two recordings, or two containers, of one id are an InputError that names both."""
    ids = pa.chunked_array([chunk for one in found for chunk in _named(one)["@id"].chunks], pa.string())
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = ids.value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
    sources = []
    for one in found:
        named = _named(one)
        rows = np.flatnonzero(pc.equal(named["@id"], twice).to_numpy())[:2]
        sources += [f"{redact(named['@location'][int(row)].as_py())} (from {one.source}, row {row})" for row in rows]
    raise InputError(
        f"two recordings have the id {twice!r}: {sources[0]} and {sources[1]}. Ids are relative to each input: give"
        ' their common parent folder, or a manifest with an "id" column'
    )


def _named(one: Found) -> pa.Table:
    """A container may be several units (of one row group each, say) under one id."""
    names = one.units.select(["@id", "@location"])
    return names if one.kind == "files" else names.group_by(["@id", "@location"], use_threads=False).aggregate([])


def _joined(found: Sequence[Found], kind: Kind, carried: pa.Schema) -> pa.Table:
    """The units of all inputs of a kind, in the order of the inputs; absent columns null."""
    schema = pa.unify_schemas([UNIT_SCHEMA, carried]) if kind == "files" else UNIT_SCHEMA
    tables = [schema.empty_table()]
    for one in found:
        names = one.units.schema.names
        columns = [
            one.units[f.name].cast(f.type) if f.name in names else pa.nulls(one.units.num_rows, f.type) for f in schema
        ]
        tables.append(pa.table(columns, schema=schema))
    return pa.concat_tables(tables)


def _one_array(ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    return pa.concat_arrays([pa.array([], pa.large_string()), *(chunk.cast(pa.large_string()) for chunk in chunks)])


def _fresh(units: pa.Table, known: pa.Array) -> tuple[pa.Table, int]:
    """The units whose ids are not among `known`, and the number of the others."""
    if not len(known):
        return units, 0  # a filter would copy millions of rows
    fresh = units.filter(pc.invert(pc.is_in(units["@id"].cast(pa.large_string()), value_set=known)))
    return fresh, units.num_rows - fresh.num_rows


def _target(units: dict[Kind, pa.Table], task_bytes: int, parallelism: int) -> int:
    """Bytes of one task."""
    total = sum((pc.sum(table["@bytes"]).as_py() or 0) + OPEN_BYTES * table.num_rows for table in units.values())
    return max(1, total // MAX_TASKS, min(task_bytes, total // (2 * max(1, parallelism))))


def split(units: pa.Table, target: int) -> Iterator[pa.Table]:
    """Consecutive pieces of about `target` bytes, as views of `units`."""
    sizes = units["@bytes"].to_numpy() + OPEN_BYTES
    group = (np.cumsum(sizes, dtype=np.int64) - sizes) // target
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(sizes)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            yield units.slice(begin, end - begin)


def _done(committed: "Committed | None", kind: Kind, units: pa.Table) -> pa.Array:
    return pa.array([], pa.large_string()) if committed is None or kind == "files" else committed.within(units)


class Committed:
    """Committed ids, sorted, so that each container's task gets its own and no more."""

    def __init__(self, ids: pa.Array, prefixed: bool) -> None:
        self.ids, self.prefixed = ids.take(pc.sort_indices(ids)), prefixed

    def within(self, units: pa.Table) -> pa.Array:
        """Those of recordings in the containers of `units`, and of the containers where they failed as a whole."""
        if not self.prefixed:
            return self.ids
        ranges = []
        for id in units["@id"].unique().to_pylist():
            for first, after in ((id, f"{id}\0"), (f"{id}#", f"{id}$"), (f"{id}/", f"{id}0")):  # all that starts so
                ranges.append(self._between(first, after))
        return pa.concat_arrays(ranges)

    def _between(self, first: str, after: str) -> pa.Array:
        begin = bisect.bisect_left(self.ids, first, key=lambda id: id.as_py())
        end = bisect.bisect_left(self.ids, after, key=lambda id: id.as_py())
        return self.ids.slice(begin, end - begin)


def _nothing(inputs: Sequence[str], passed_over: int) -> str:
    return (
        f"no audio found in {', '.join(redact(location) for location in inputs) or 'no inputs'}: {passed_over} files"
        f" and folders passed over (hidden, or not one of {' '.join(suffixes())});"
        f" a manifest ({' '.join(suffixes(listed=False))} .parquet) must be named itself"
    )
