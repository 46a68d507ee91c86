"""The parts of a run -> tables of whole recordings, in a fixed order and flat memory. Exports and training read this.

A recording belongs to the part that holds its first chunk, so that parts can be read apart from each other, by several
workers: each recording comes once. Further chunks are fetched from where they lie.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from actors.contract import SAMPLE_RATE
from pipeline.run.chunks import refuse_doubles, refuse_gaps
from pipeline.run.parts import join, part_schema, read_part, stream_part
from pipeline.schema import CODES_SCHEMA

PARTS_AT_ONCE = 8
"""Parts whose footers are read at the same time: of an object store, each takes a round trip or two."""
LONG_SCHEMA = pa.schema([CODES_SCHEMA.field("id"), CODES_SCHEMA.field("chunk"), ("part", pa.int32())])


@dataclass(frozen=True)
class Whole:
    """What there is to read. Its memory grows with the number of parts and of chunks of long recordings alone."""

    location: str  # of the run, for messages
    fs: FileSystem
    parts: list[str]
    schema: pa.Schema  # CODES_SCHEMA, then the carried columns of all parts
    counts: np.ndarray  # int64 [parts]: whole recordings that begin in each
    long: pa.Table  # LONG_SCHEMA: every chunk of those recordings that have several, all there

    def __len__(self) -> int:
        return int(self.counts.sum())


def survey(fs: FileSystem, parts: list[str], location: str) -> Whole:
    """Look at every part's footer, and at its ids if it has long recordings.

    Raises OutputError for damaged parts, for chunks that are there twice, and for carried columns of types that cannot
    be combined. Short recordings that are there twice are not noticed: the audit of a complete run has settled them.
    """
    with ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
        schemas = list(threads.map(lambda part: part_schema(fs, part, CODES_SCHEMA), parts))
        keys = list(threads.map(lambda numbered: _keys(fs, *numbered), enumerate(parts)))
    schema = join([CODES_SCHEMA.empty_table(), *(schema.empty_table() for schema in schemas)], parts).schema
    long = pa.concat_tables([table for _, table in keys]) if keys else pa.table({})
    if len(long):
        refuse_doubles(long, location)
        counts = long.group_by(["id", "chunks"]).aggregate([("chunk", "count")])
        whole = counts.filter(pc.equal(counts["chunk_count"], counts["chunks"]))["id"].combine_chunks()
        long = long.filter(pc.is_in(long["id"], whole))
    short = np.array([count for count, _ in keys], np.int64)
    first = long.filter(pc.equal(long["chunk"], 0))["part"].to_numpy() if len(long) else np.empty(0, np.int32)
    rows = long.select(LONG_SCHEMA.names) if len(long) else LONG_SCHEMA.empty_table()
    return Whole(location, fs, parts, schema, short + np.bincount(first, minlength=len(parts)), rows)


def recordings(whole: Whole, begin: int = 0) -> Iterator[pa.Table]:
    """A row a recording, a few at a time, part after part, from recording number `begin` on; `codes` are joined.

    Every table has `whole.schema`. Raises OutputError as `stream_part` does.
    """
    ends = np.cumsum(whole.counts)
    part = int(np.searchsorted(ends, begin, side="right"))
    skip = begin - int(ends[part - 1]) if part else begin
    for number in range(part, len(whole.parts)):
        for rows in part_recordings(whole, number):
            if skip < len(rows):
                yield rows.slice(skip)
            skip = max(0, skip - len(rows))


def part_recordings(whole: Whole, part: int) -> Iterator[pa.Table]:
    """The recordings that begin in one part, in the order of its rows, with `whole.schema`."""
    for rows in stream_part(whole.fs, whole.parts[part]):
        first = rows.filter(pc.equal(rows["chunk"], 0))
        if pc.any(pc.greater(first["chunks"], 1)).as_py():
            first = _with_joined(whole, first)
        yield _as(whole.schema, first, whole.parts[part])


def _keys(fs: FileSystem, number: int, part: str) -> tuple[int, pa.Table]:
    """How many short recordings a part has; id, chunk, chunks and its number for each row of the others."""
    chunks = read_part(fs, part, CODES_SCHEMA, ["chunks"])["chunks"]
    short = pc.sum(pc.equal(chunks, 1)).as_py() or 0
    names = ["id", "chunk", "chunks"]
    rows = (
        read_part(fs, part, CODES_SCHEMA, names)
        if short < len(chunks)
        else pa.schema([CODES_SCHEMA.field(name) for name in names]).empty_table()
    )
    rows = rows.filter(pc.greater(rows["chunks"], 1))
    return short, rows.append_column("part", pa.array(np.full(len(rows), number, np.int32)))


def _with_joined(whole: Whole, first: pa.Table) -> pa.Table:
    """First chunks -> recordings: those of several chunks get all their codes, or go if they are not all there."""
    ids = first.filter(pc.greater(first["chunks"], 1))["id"]
    wanted = whole.long.filter(pc.is_in(whole.long["id"], ids.combine_chunks()))
    found = []
    for part in pc.unique(wanted["part"]).to_pylist():
        for rows in stream_part(whole.fs, whole.parts[part]):
            found.append(rows.filter(pc.is_in(rows["id"], ids.combine_chunks())).select(CODES_SCHEMA.names))
    chunks = pa.concat_tables(found).combine_chunks() if found else CODES_SCHEMA.empty_table()
    known = set(wanted["id"].to_pylist())
    rows = []
    for row, (id_, count) in enumerate(zip(first["id"].to_pylist(), first["chunks"].to_pylist(), strict=True)):
        if count == 1:
            rows.append(first.slice(row, 1))
        elif id_ in known:
            own = chunks.filter(pc.equal(chunks["id"], id_)).sort_by("chunk")
            refuse_gaps(own, whole.location)
            rows.append(_joined(first.slice(row, 1), own))
    return pa.concat_tables([first.slice(0, 0), *rows])


def _joined(first: pa.Table, chunks: pa.Table) -> pa.Table:
    frames = chunks["codes"].combine_chunks().flatten()
    samples = pc.sum(chunks["num_samples"]).as_py()
    values = {
        "chunks": pa.array([1], pa.int32()),
        "num_frames": pa.array([len(frames)], pa.int32()),
        "num_samples": pa.array([samples], pa.int64()),
        "duration_s": pa.array([samples / SAMPLE_RATE]),
        "codes": pa.ListArray.from_arrays(pa.array([0, len(frames)], pa.int32()), frames),
    }
    for name, value in values.items():
        field = first.schema.field(name)
        first = first.set_column(first.schema.get_field_index(name), field, value.cast(field.type))
    return first


def _as(schema: pa.Schema, rows: pa.Table, part: str) -> pa.Table:
    """`rows` with the columns of `schema` in its order and types; a column that the part lacks is null."""
    if rows.schema.equals(schema):
        return rows
    return join([schema.empty_table(), rows], [part]).select(schema.names)
