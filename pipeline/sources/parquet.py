"""A Parquet shard with audio bytes (Hugging Face `Audio`, or a binary column) -> its recordings, by row group.

An id is the `id` column if it is unique in the shard, else `audio.path` if that is unique, else the row's number: all
row groups of a shard must agree on this although they are read separately. All columns but the audio are carried to the
output, the `id` column as `input_id`.
"""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError, RecordingError, UnreadableAudio
from pipeline.sources.found import Found, Rules
from pipeline.sources.members import Opener, fail
from pipeline.sources.parquet_footer import Footer, audio_column, is_text, read_footer, travelling
from pipeline.sources.task import MAX_WEIGHT, UNIT_SCHEMA, Container, InputRecording, ReadTask, containers
from pipeline.storage.location import around, folder_of, is_uri, quoted
from pipeline.storage.opening import BUFFER_BYTES, open_ranges, open_recording
from pipeline.storage.text import clean_ids, mend_text
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
    first = (shard.row_groups or [0])[0]
    own_id = f"{shard.id}#row-group-{first}" if first else shard.id
    source = shard.source
    try:
        with errors_as(shard.location, UnreadableAudio), open_ranges(shard.location, shard.access) as file:
            parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
            yield from _Rows(parquet, shard, done, source).read()
    except (RecordingError, InputError) as e:
        if own_id in done:  # that it broke is committed
            return
        yield InputRecording(
            own_id,
            source,
            source.rpartition("/")[2],
            shard.nulls(),
            partial(fail, UnreadableAudio(str(e))),
            stamp=shard.stamp,
        )


class _Rows:
    """An open shard."""

    def __init__(self, parquet: pq.ParquetFile, shard: Container, done: frozenset[str], source: str) -> None:
        self.parquet, self.shard, self.done, self.source = parquet, shard, done, source
        audio = audio_column(parquet.schema_arrow, shard.column, shard.location)
        if audio is None:
            raise UnreadableAudio(f"{source}: no column holds audio: {', '.join(parquet.schema_arrow.names)}")
        self.audio = parquet.schema_arrow.names.index(audio)
        self.ids = _column_of_ids(parquet, audio)

    def read(self) -> Iterator[InputRecording]:
        metadata = self.parquet.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if sum(counts) > MAX_ROWS or min(counts, default=0) < 0:
            raise UnreadableAudio(f"{self.source}: its footer claims {sum(counts)} rows; the limit is {MAX_ROWS}")
        for group in range(len(counts)) if self.shard.row_groups is None else self.shard.row_groups:
            begin = sum(counts[:group])
            yield from self._group(group, range(begin, begin + counts[group]))

    def _group(self, group: int, numbers: range) -> Iterator[InputRecording]:
        if all(self._id(number) in self.done for number in numbers):
            return
        read, why = 0, "fewer rows than its footer says"
        try:
            for batch in self.parquet.iter_batches(self._batch_rows(group), row_groups=[group], use_threads=False):
                yield from self._batch(batch, numbers[read : read + batch.num_rows])
                read += batch.num_rows
        except (OSError, UnicodeError, pa.ArrowException) as e:
            why = reason(e)
        for number in numbers[read:]:
            error = UnreadableAudio(
                f"{self.source}: row group {group} breaks in rows {numbers[read]} and later ({why})"
            )
            yield from self._item(number, "", self.shard.nulls(), partial(fail, error))

    def _batch_rows(self, group: int) -> int:
        known = self.parquet.metadata.row_group(group)
        return max(1, min(64, BATCH_BYTES * known.num_rows // max(1, known.total_byte_size)))

    def _batch(self, batch: pa.RecordBatch, numbers: range) -> Iterator[InputRecording]:
        audio = batch.column(self.audio)
        is_struct = pa.types.is_struct(audio.type)
        contents = pc.struct_field(audio, "bytes") if is_struct else audio
        index = audio.type.get_field_index("path") if is_struct else -1
        has_path = index >= 0 and is_text(audio.type.field(index).type)
        paths = _text(pc.struct_field(audio, "path")).to_pylist() if has_path else [None] * len(numbers)
        columns = self._columns(batch)
        for row, number in enumerate(numbers):
            carried = {name: column[row] for name, column in columns.items()}
            yield from self._item(number, paths[row] or "", carried, self._opener(contents[row], paths[row], number))

    def _columns(self, batch: pa.RecordBatch) -> dict[str, pa.ChunkedArray]:
        """The carried columns with the plan's types; null if only other shards have them."""
        new = {name: index for index, name in travelling(batch.schema, batch.schema.names[self.audio])}
        return {
            column.name: _text(batch.column(new[column.name])).cast(column.type)
            if column.name in new
            else pa.chunked_array([pa.nulls(batch.num_rows, column.type)])
            for column in self.shard.carried
        }

    def _opener(self, content: pa.Scalar, path: str | None, number: int) -> Opener:
        if content.is_valid:
            buffer = content.as_buffer()
            return lambda: nullcontext(io.BytesIO(buffer))
        if path:
            before, after = around(folder_of(self.shard.location))
            location = (
                path
                if is_uri(path) or path.startswith("/")
                else before + (quoted(path) if is_uri(before) else path) + after
            )
            return partial(open_recording, location, self.shard.access)
        return partial(fail, UnreadableAudio(f"{self.source}::row {number}: neither bytes nor a path"))

    def _id(self, number: int) -> str:
        own = self.ids[number].as_py() if self.ids is not None and number < len(self.ids) else f"{number:08d}"
        return f"{self.shard.id}/{own}" if self.shard.prefixed else own

    def _item(self, number: int, path: str, carried: dict[str, pa.Scalar], opener: Opener) -> Iterator[InputRecording]:
        if (id := self._id(number)) not in self.done:
            source, name = f"{self.source}::row {number}", path.rpartition("/")[2]
            yield InputRecording(id, source, name, carried, opener, stamp=self.shard.stamp)


def _column_of_ids(parquet: pq.ParquetFile, audio: str) -> pa.ChunkedArray | None:
    """The ids of all rows of the shard; None if neither column is unique."""
    for name in ("id", f"{audio}.path"):
        table = parquet.read(columns=[name], use_threads=False)
        if table.num_columns != 1:
            continue
        column = table.column(0)
        if pa.types.is_struct(column.type):
            if column.type.get_field_index("path") < 0:
                continue
            column = pc.struct_field(column, "path")
        if not (is_text(column.type) or pa.types.is_integer(column.type)):
            continue
        ids = clean_ids(_text(column).cast(pa.string()))
        if not ids.null_count and pc.count_distinct(ids).as_py() == len(ids) and not pc.any(pc.equal(ids, "")).as_py():
            return ids
    return None


def _text(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return mend_text(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
