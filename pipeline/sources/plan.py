"""What the inputs hold, without what is committed -> read tasks of similar size, on the driver. Rows stay in Arrow."""

import bisect
import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import file_ids, parents, spoken_ids
from pipeline.sources.formats import FORMATS, recordings
from pipeline.sources.found import Found
from pipeline.sources.inputs import Discovered, discover_all, has_split
from pipeline.sources.limit import first_recordings
from pipeline.sources.split import share
from pipeline.sources.task import UNIT_SCHEMA, Kind, ReadTask
from pipeline.storage.access import DEFAULT, Access
from pipeline.storage.location import redact
from pipeline.storage.text import clean_id, id_hashes

MAX_TASKS = 20_000
"""More make Ray's driver the bottleneck (17-50 ms a block); larger inputs get larger tasks."""
FILE_TASKS = 16
"""Tasks' worth of segments of one file that stay in one task: most formats are decoded from the beginning by each."""
OPEN_BYTES = 64 << 10
"""What opening a file weighs, in bytes of reading: a task of tiny files is not to take an hour of requests."""


@dataclass(frozen=True)
class Plan:
    """All that is to be read."""

    tasks: list[ReadTask]
    carried: pa.Schema  # as in Discovered
    recordings: int | None  # to read; None where only opening a tar shard, or a file (its channels, its speech), tells
    passed_over: Counter[str]  # as in Discovered
    skipped: int  # files that are committed already; containers skip theirs while they are read
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
    task_bytes: int = 64 << 20,
    parallelism: int = 1,
    chunk_samples: int | None = None,
    max_recording_s: float = math.inf,
    limit: int | None = None,
) -> Plan:
    """Divide the reading of `inputs`, without the recordings whose ids are in `done`, into tasks.

    A task holds about `task_bytes` of encoded audio, less where that would be fewer than 2 * `parallelism` tasks. With
    `chunk_samples` (at 24 kHz), tasks share a large local WAV of several chunks, unless it is longer than
    `max_recording_s`. `limit`: only the first recordings, files before members of containers, each in the order of the
    inputs, committed ones counted; then one task reads all containers of a kind, because only reading counts them.
    """
    found, carried = inputs.found, inputs.carried
    known = _one_array(pa.array([], pa.large_string()) if done is None else done)
    units = {kind: _joined([one for one in found if one.kind == kind], kind, carried) for kind in FORMATS}
    chosen = first_recordings(units, limit, functools.partial(_count, inputs))
    units = dict(chosen.units)
    units["files"], skipped = _fresh(units["files"], known)
    units["files"] = by_file(units["files"])
    fresh = units["files"].num_rows
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
    if len(known) and not all(task.listed for task in tasks):
        committed = Committed(known, inputs.prefixed)
        tasks = [task if task.listed else replace(task, done=committed.within(task)) for task in tasks]
    counts = [one.recordings if one.kind != "files" or not has_split(one.units) else None for one in found]
    number = None if None in counts or inputs.vad else sum(count or 0 for count in counts) - skipped
    if chosen.cut:
        number = fresh if not (chosen.limits or inputs.vad or has_split(units["files"])) else None
    return Plan(tasks, carried, number, inputs.passed_over, skipped, chosen.cut)


def task_of(inputs: Discovered, kind: Kind, units: pa.Table, limit: int | None = None) -> ReadTask:
    """A task that reads `units`, nothing of which is committed."""
    how = (inputs.prefixed, inputs.column, inputs.access, inputs.channel, limit, inputs.vad)
    return ReadTask(kind, units, inputs.carried, pa.array([], pa.large_string()), *how)


def _count(inputs: Discovered, kind: Kind, units: pa.Table, most: int) -> int:
    """Recordings in containers, `most` at most. Opens and reads them."""
    return sum(1 for _ in recordings(task_of(inputs, kind, units, most)))


def remaining(planned: Plan, done: pa.Array, held: Mapping[int, Iterable[str]]) -> Plan:
    """What of `planned` is not in `done`, the ids of committed recordings.

    `held`: of a task that is not `listed`, by its number, the ids that its reader came across. A container is read
    again where one of them is missing, or where no reader came to its end; so is a file that is split into channels or
    stretches of speech.
    """
    known = np.unique(id_hashes(done))
    committed: Committed | None = None
    tasks = []
    for number, task in enumerate(planned.tasks):
        ids = pa.array(held.get(number, []), pa.string())
        lost = ids.filter(pa.array(np.isin(id_hashes(ids), known, invert=True)))
        if task.kind == "files":
            hashes, of_lost = id_hashes(task.units["@id"]), id_hashes(parents(lost))
            missing = np.isin(hashes, known, invert=True) | np.isin(hashes, of_lost)
            task = replace(task, units=task.units.filter(pa.array(missing)))
        if task.listed and len(task.units):
            tasks.append(task)
        elif not task.listed and (number not in held or len(lost)):
            committed = committed or Committed(_one_array(done), task.prefixed)
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


def by_file(units: pa.Table) -> pa.Table:
    """`units` of files, those of one file beside each other: a reader goes through it once for all of them."""
    whole = pc.and_(pc.is_null(units["@start_s"]), pc.is_null(units["@end_s"]))
    if pc.all(pc.and_(whole, pc.is_null(units["@channel"]))).as_py():
        return units  # of millions of files
    encoded = units["@location"].dictionary_encode().unify_dictionaries().chunks
    places = np.concatenate([np.empty(0, np.int32), *(chunk.indices.to_numpy() for chunk in encoded)])
    if np.count_nonzero(np.diff(places)) + 1 == len(np.unique(places)):
        return units
    return units.take(pa.array(np.argsort(places, kind="stable")))


def split(units: pa.Table, target: int, keep: int = 1) -> Iterator[pa.Table]:
    """Consecutive pieces of about `target` bytes, as views of `units`; up to `keep` bytes of a file are not parted."""
    sizes = units["@bytes"].to_numpy() + OPEN_BYTES
    begins = np.cumsum(sizes, dtype=np.int64) - sizes
    places, new = units["@location"], np.ones(len(sizes), bool)
    new[1:] = pc.not_equal(places.slice(1), places.slice(0, max(0, len(places) - 1))).to_numpy()
    first = np.maximum.accumulate(np.where(new, begins, 0))  # of each row's file
    group = (first + (begins - first) // keep * keep) // target
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(sizes)]
    for begin, end in itertools.pairwise(edges):
        if end > begin:
            yield units.slice(begin, end - begin)


class Committed:
    """Committed ids, sorted, so that each task that is not `listed` gets its own and no more."""

    def __init__(self, ids: pa.Array, prefixed: bool) -> None:
        self.ids, self.prefixed = ids.take(pc.sort_indices(ids)), prefixed
        inside = self.ids.filter(pc.match_substring_regex(self.ids, r"(@ch\d+|#[0-9.]+-[0-9.]+)$"))
        spoken = spoken_ids(inside)
        self.inside = pa.table({"id": inside, "file": file_ids(inside), "spoken": spoken, "whole": file_ids(spoken)})

    def within(self, task: ReadTask) -> pa.Array:
        """Those of channels and speech of the task's files; or those of recordings in its containers, and of the
        containers where they failed as a whole."""
        if task.kind == "files":
            files = task.units["@id"].cast(pa.large_string()).combine_chunks()
            file, spoken, whole = (pc.is_in(self.inside[name], files) for name in ("file", "spoken", "whole"))
            return self.inside.filter(pc.or_(file, pc.or_(spoken, whole)))["id"].combine_chunks()
        if not self.prefixed:
            return self.ids
        ranges = []
        for id in task.units["@id"].unique().to_pylist():
            for first, after in ((id, f"{id}\0"), (f"{id}#", f"{id}$"), (f"{id}/", f"{id}0")):  # all that starts so
                ranges.append(self._between(first, after))
        return pa.concat_arrays(ranges)

    def _between(self, first: str, after: str) -> pa.Array:
        begin = bisect.bisect_left(self.ids, first, key=lambda id: id.as_py())
        end = bisect.bisect_left(self.ids, after, key=lambda id: id.as_py())
        return self.ids.slice(begin, end - begin)
