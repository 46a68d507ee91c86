"""A Parquet shard with audio bytes (Hugging Face `Audio`, or a binary column) -> its recordings, by row group."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError, RecordingError, UnreadableAudio
from pipeline.sources.audio_rows import AudioRows
from pipeline.sources.found import Found, Rules
from pipeline.sources.members import broken, fail, unexpected
from pipeline.sources.parquet_footer import Footer, read_footer
from pipeline.sources.task import MAX_WEIGHT, UNIT_SCHEMA, Container, InputRecording, ReadTask, containers
from pipeline.storage.opening import BUFFER_BYTES, open_ranges
from pipeline.storage.translate import errors_as, reason

BATCH_BYTES = 16 << 20
"""Bytes decoded at a time. Memory also holds two pages of Parquet, which can reach a gigabyte with careless writers."""
MAX_ROWS = 100_000_000
"""Of one shard: a damaged or hostile footer may claim any number."""


SUFFIXES = (".parquet",)
FOOTER_THREADS = 16
"""Footers read at once: each is one or two requests of a remote store."""


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """Parquet files -> their row groups, one `Found` for each schema; and the number of files without audio.

    A file whose footer cannot be read is kept whole: reading it makes it a failure with the reason.
    """
    by_schema: dict[pa.Schema, list[dict[str, Any]]] = {}
    others = 0
    files = units.to_pylist()
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        footers = list(pool.map(lambda unit: _footer(unit["@location"], rules), files))
    for unit, footer in zip(files, footers, strict=True):
        if footer is not None and footer.audio is None:
            others += 1
            continue
        groups = by_schema.setdefault(footer.carried if footer else pa.schema([]), [])
        if footer is None:
            groups.append(unit | {"recordings": 1})  # its failure
            continue
        for group, (count, size) in enumerate(zip(footer.rows, footer.bytes, strict=True)):
            groups.append(unit | {"@row_group": group, "@bytes": min(max(size, 1), MAX_WEIGHT), "recordings": count})
    found = [
        Found(source, "parquet", pa.Table.from_pylist(rows, UNIT_SCHEMA), carried, sum(r["recordings"] for r in rows))
        for carried, rows in by_schema.items()
    ]
    return found, others


def _footer(location: str, rules: Rules) -> Footer | None:
    try:
        return read_footer(location, rules.column, rules.access)
    except UnreadableAudio:
        return None


def read(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of the shards of `task` that is not committed, in order."""
    done = frozenset(task.done.to_pylist())
    for shard in containers(task):
        yield from rows(shard, done)


def rows(shard: Container, done: frozenset[str]) -> Iterator[InputRecording]:
    """Every recording of the row groups that is not in `done`. A broken one is an item whose open raises.

    If a row group breaks, its remaining rows fail, each under its id; if nothing can be read, one item fails under the
    shard's own id.
    """
    try:
        with errors_as(shard.location, UnreadableAudio), open_ranges(shard.location, shard.access) as file:
            parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
            yield from _Shard(parquet, shard, done).read()
    except (RecordingError, InputError) as e:
        if shard.failure_id not in done:  # else that it broke is committed
            yield broken(shard, UnreadableAudio(str(e)))
    except Exception as e:
        if shard.failure_id not in done:
            yield broken(shard, unexpected(shard, e))


class _Shard:
    """An open shard."""

    def __init__(self, parquet: pq.ParquetFile, shard: Container, done: frozenset[str]) -> None:
        self.parquet, self.shard = parquet, shard
        self.rows = AudioRows(shard, done, parquet.schema_arrow, partial(_column, parquet))

    def read(self) -> Iterator[InputRecording]:
        metadata = self.parquet.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if sum(counts) > MAX_ROWS or min(counts, default=0) < 0:
            raise UnreadableAudio(f"{self.shard.source}: its footer claims {sum(counts)} rows; the limit is {MAX_ROWS}")
        groups = range(len(counts)) if self.shard.row_groups is None else self.shard.row_groups
        if max(groups, default=0) >= len(counts):
            raise UnreadableAudio(
                f"{self.shard.source}: it has {len(counts)} row groups, and had {max(groups) + 1} or more when the run "
                "was planned: it was changed meanwhile; run the command again"
            )
        for group in groups:
            begin = sum(counts[:group])
            yield from self._group(group, range(begin, begin + counts[group]))

    def _group(self, group: int, numbers: range) -> Iterator[InputRecording]:
        if all(self.rows.id(number) in self.rows.done for number in numbers):
            return
        read, why = 0, "fewer rows than its footer says"
        try:
            for batch in self.parquet.iter_batches(self._batch_rows(group), row_groups=[group], use_threads=False):
                yield from self.rows.recordings(batch, numbers[read : read + batch.num_rows])
                read += batch.num_rows
        except (OSError, UnicodeError, pa.ArrowException) as e:
            why = reason(e)
        for number in numbers[read:]:
            error = UnreadableAudio(
                f"{self.shard.source}: row group {group} breaks in rows {numbers[read]} and later ({why})"
            )
            yield from self.rows.item(number, "", self.shard.nulls(), partial(fail, error))

    def _batch_rows(self, group: int) -> int:
        known = self.parquet.metadata.row_group(group)
        return max(1, min(64, BATCH_BYTES * known.num_rows // max(1, known.total_byte_size)))


def _column(parquet: pq.ParquetFile, name: str) -> pa.ChunkedArray | None:
    """All rows of a column, or of the field of a struct ("audio.path"); None where it is not there."""
    table = parquet.read(columns=[name], use_threads=False)
    if table.num_columns != 1:
        return None
    column = table.column(0)
    if not pa.types.is_struct(column.type):
        return column
    return pc.struct_field(column, "path") if column.type.get_field_index("path") >= 0 else None
