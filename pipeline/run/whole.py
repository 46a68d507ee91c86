"""The parts of a run -> tables of whole recordings, in a fixed order and flat memory. Exports and training read this.

A recording belongs to the part that holds its first chunk, so that parts can be read apart from each other, by several
workers: each recording comes once. Further chunks are fetched from where they lie.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from actors.contract import SAMPLE_RATE
from pipeline.errors import OutputError, plural
from pipeline.run.alike import Numbered
from pipeline.run.chunks import lacking, refuse_doubles, refuse_gaps
from pipeline.run.parts import join, join_schemas, read_part, read_with_schema, stream_part, stream_parts
from pipeline.schema import CODES_SCHEMA
from pipeline.sources.rows import taken
from pipeline.storage.at_once import at_once
from pipeline.storage.location import redact
from pipeline.storage.text import id_hashes

KEYS_SCHEMA = pa.schema([*(CODES_SCHEMA.field(name) for name in ("id", "chunk", "chunks")), ("part", pa.int32())])
LONG_SCHEMA = pa.schema([KEYS_SCHEMA.field(name) for name in ("id", "chunk", "part")])


@dataclass(frozen=True)
class Whole:
    """What there is to read. Its memory grows with the number of parts and of chunks of long recordings alone."""

    location: str  # of the run, for messages
    fs: FileSystem
    parts: list[str]
    schema: pa.Schema  # CODES_SCHEMA, then the carried columns of all parts
    counts: np.ndarray  # int64 [parts]: whole recordings that begin in each
    long: pa.Table  # LONG_SCHEMA: every chunk of those recordings that have several, all there; in order of `home`
    home: np.ndarray  # int32: of each of these chunks the part that holds its recording's first one

    def __len__(self) -> int:
        return int(self.counts.sum())


def refuse_other_parts(parts: list[str], named: Collection[str], location: str) -> None:
    """Raise OutputError where the names of `parts` are not those that a run's record names."""
    names = {part.rpartition("/")[2] for part in parts}
    gone, foreign = sorted(set(named) - names), sorted(names - set(named))
    if gone:
        raise OutputError(
            f"{redact(location)} lacks {plural(len(gone), 'part')} of codes that its run.json names, the first is "
            f"{gone[0]}. Copy it again, or make it again with the command that made the run."
        )
    if foreign:
        raise OutputError(
            f"{redact(location)} holds {plural(len(foreign), 'part')} of codes that its run.json does not name, the"
            f" first is {foreign[0]}: of an older run, or of another one. Delete what is not of it, as a copy that"
            " deletes would have done; see `voxmill check`."
        )


def find_whole(fs: FileSystem, parts: list[str], location: str) -> Whole:
    """Look at every part's footer, and at its ids if it has long recordings.

    Raises OutputError for damaged parts, for chunks that are there twice, and for carried columns of types that cannot
    be combined. Short recordings that are there twice are not noticed: the audit of a complete run has settled them.
    """
    found = list(at_once(lambda numbered: _keys(fs, *numbered), enumerate(parts)))
    schema = join_schemas((schema for schema, _, _ in found), parts)
    long = pa.concat_tables([KEYS_SCHEMA.empty_table(), *(table for _, _, table in found)])
    hashes = id_hashes(long["id"])
    refuse_doubles(long, hashes, location)
    there = ~lacking(long, hashes)
    long, hashes = long.filter(pa.array(there)), hashes[there]
    begins, part = long["chunk"].to_numpy() == 0, long["part"].to_numpy()
    home = part[begins][Numbered(hashes[begins]).find(hashes)]
    order = np.argsort(home, kind="stable")
    short = np.array([count for _, count, _ in found], np.int64)
    counts = short + np.bincount(part[begins], minlength=len(parts))
    return Whole(location, fs, parts, schema, counts, taken(long.select(LONG_SCHEMA.names), order), home[order])


def recordings(whole: Whole, begin: int = 0) -> Iterator[pa.Table]:
    """A row a recording, a few at a time, part after part, from recording number `begin` on; `codes` are joined.

    Every table has `whole.schema`. Raises OutputError as `stream_part` does.
    """
    ends = np.cumsum(whole.counts)
    part = int(np.searchsorted(ends, begin, side="right"))
    skip = begin - int(ends[part - 1]) if part else begin
    stream = stream_parts(whole.fs, whole.parts[part:])
    for number, own in groupby(stream, key=itemgetter(0)):  # parts without rows are left out
        for rows in part_recordings(whole, part + number, (rows for _, rows in own)):
            if skip < len(rows):
                yield rows.slice(skip)
            skip = max(0, skip - len(rows))


def part_recordings(whole: Whole, part: int, own: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The recordings that begin in one part, with `whole.schema`, in an order that only the parts decide. `own`: its
    rows, as `stream_part` gives them.

    A recording of several chunks comes when its last one is read: from this part if all are in it, else after it, from
    the others, which are read once more for this.
    """
    begin, end = np.searchsorted(whole.home, [part, part + 1])
    chunks = whole.long.slice(begin, end - begin)
    missing = Counter(chunks["id"].to_pylist())
    waiting: dict[str, list[pa.Table]] = {id_: [] for id_ in missing}
    others = sorted(set(chunks["part"].to_pylist()) - {part})
    for number in [part, *others]:
        for given in own if number == part else stream_part(whole.fs, whole.parts[number]):
            rows = _as(whole.schema, given, whole.parts[number])
            short = rows.filter(pc.equal(rows["chunks"], 1)) if number == part else rows.slice(0, 0)
            ready = pa.concat_tables([short, _completed(whole, rows, waiting, missing)]) if waiting else short
            if len(ready):
                yield ready


def _keys(fs: FileSystem, number: int, part: str) -> tuple[pa.Schema, int, pa.Table]:
    """The schema of a part, how many short recordings it has, and KEYS_SCHEMA of the rows of the others."""
    schema, rows = read_with_schema(fs, part, CODES_SCHEMA, ["chunks"])
    chunks = rows["chunks"]
    short = pc.sum(pc.equal(chunks, 1)).as_py() or 0
    if short == len(chunks):
        return schema, short, KEYS_SCHEMA.empty_table()
    rows = read_part(fs, part, CODES_SCHEMA, ["id", "chunk", "chunks"])
    rows = rows.filter(pc.greater(rows["chunks"], 1))
    return schema, short, rows.append_column("part", pa.array(np.full(len(rows), number, np.int32)))


def _completed(whole: Whole, rows: pa.Table, waiting: dict[str, list[pa.Table]], missing: Counter[str]) -> pa.Table:
    """Take the chunks of `waiting` recordings out of `rows` (`whole.schema`) -> those recordings that have all of them
    now, joined; in the order of their last chunks."""
    rows = rows.filter(pc.greater(rows["chunks"], 1))
    ids = rows["id"].to_pylist()
    last = {id_: row for row, id_ in enumerate(ids) if id_ in waiting}
    missing.subtract(id_ for id_ in ids if id_ in last)
    ready = sorted((id_ for id_ in last if not missing[id_]), key=lambda id_: last[id_])
    for row, id_ in enumerate(ids):
        if id_ in last and missing[id_]:
            waiting[id_].append(rows.take([row]))  # a slice would keep all of `rows` in memory
    if not ready:
        return rows.slice(0, 0)
    number = {id_: number for number, id_ in enumerate(ready)}
    here = rows.filter(pa.array([id_ in number for id_ in ids], pa.bool_()))
    before = [row for id_ in ready for row in waiting.pop(id_)]
    return _joined(whole, pa.concat_tables([*before, here]), number)


def _joined(whole: Whole, rows: pa.Table, number: dict[str, int]) -> pa.Table:
    """All chunks of some recordings, a row each -> one row a recording, as `number` numbers them: the first chunk's,
    with all codes."""
    own = np.array([number[id_] for id_ in rows["id"].to_pylist()])
    order = np.lexsort([rows["chunk"].to_numpy(), own])
    rows = rows.take(pa.array(order)).combine_chunks()
    begins = np.flatnonzero(np.diff(own[order], prepend=-1))
    refuse_gaps(rows, begins, whole.location)
    frames, samples = (np.add.reduceat(rows[name].to_numpy(), begins) for name in ("num_frames", "num_samples"))
    ends = np.concatenate([[0], np.cumsum(frames)])
    values = {
        "chunks": pa.array(np.ones(len(begins), np.int32)),
        "num_frames": pa.array(frames),
        "num_samples": pa.array(samples),
        "duration_s": pa.array(samples / SAMPLE_RATE),
        "codes": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), rows["codes"].combine_chunks().flatten()),
    }
    joined = rows.take(pa.array(begins))
    for name, value in values.items():
        field = joined.schema.field(name)
        joined = joined.set_column(joined.schema.get_field_index(name), field, value.cast(field.type))
    return joined


def _as(schema: pa.Schema, rows: pa.Table, part: str) -> pa.Table:
    """`rows` with the columns of `schema` in its order and types; a column that the part lacks is null."""
    if rows.schema.equals(schema):
        return rows
    return join([schema.empty_table(), rows], [part]).select(schema.names)
