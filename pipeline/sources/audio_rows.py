"""Rows of a table with audio bytes or paths (Parquet, Arrow) -> recordings.

An id is the `id` column if it is unique in the shard, else `audio.path` if that is unique, else the row's number: all
parts of a shard must agree on this although they are read separately. All columns but the audio are carried to the
output, the `id` column as `input_id`.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError, UnreadableAudio
from pipeline.sources.members import Opener, fail
from pipeline.sources.parquet_footer import audio_column, is_text, travelling
from pipeline.sources.task import Container, InputRecording
from pipeline.storage.location import around, folder_of, is_uri, quoted, refuse_query
from pipeline.storage.opening import open_recording
from pipeline.storage.text import clean_ids, mend_text, plain_type


class AudioRows:
    """What holds for every row of an open shard."""

    def __init__(
        self,
        shard: Container,
        done: frozenset[str],
        schema: pa.Schema,
        column: Callable[[str], pa.ChunkedArray | None],
    ) -> None:
        """`column`: the name of a column (`audio.path`: a field) -> its rows in the whole shard; None: it has none."""
        self.shard, self.done = shard, done
        audio = audio_column(schema, shard.column, shard.location)
        if audio is None:
            raise UnreadableAudio(f"{shard.source}: no column holds audio: {', '.join(schema.names)}")
        self.audio = schema.names.index(audio)
        columns = (unique_ids(column(name)) for name in ("id", f"{audio}.path"))
        self.ids = next((ids for ids in columns if ids is not None), None)

    def recordings(self, batch: pa.RecordBatch, numbers: range) -> Iterator[InputRecording]:
        """Those of a batch whose rows have the `numbers` in the shard."""
        audio = batch.column(self.audio)
        is_struct = pa.types.is_struct(audio.type)
        contents = pc.struct_field(audio, "bytes") if is_struct else audio
        index = audio.type.get_field_index("path") if is_struct else -1
        has_path = index >= 0 and is_text(audio.type.field(index).type)
        paths = _text(pc.struct_field(audio, "path")).to_pylist() if has_path else [None] * len(numbers)
        columns = self._columns(batch)
        for row, number in enumerate(numbers):
            carried = {name: column[row] for name, column in columns.items()}
            yield from self.item(number, paths[row] or "", carried, self._opener(contents[row], paths[row], number))

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
            try:
                refuse_query(path)
            except InputError as e:
                return partial(fail, UnreadableAudio(f"{self.shard.source}::row {number}: {e}"))
            location = (
                path
                if is_uri(path) or path.startswith("/")
                else before + (quoted(path) if is_uri(before) else path) + after
            )
            return partial(open_recording, location, self.shard.access)
        return partial(fail, UnreadableAudio(f"{self.shard.source}::row {number}: neither bytes nor a path"))

    def id(self, number: int) -> str:
        """Of a row, by its number in the shard."""
        own = self.ids[number].as_py() if self.ids is not None and number < len(self.ids) else f"{number:08d}"
        return f"{self.shard.id}/{own}" if self.shard.prefixed else own

    def item(self, number: int, path: str, carried: dict[str, pa.Scalar], opener: Opener) -> Iterator[InputRecording]:
        """The recording of a row, unless it is committed."""
        if (id := self.id(number)) not in self.done:
            source, name = f"{self.shard.source}::row {number}", path.rpartition("/")[2]
            yield InputRecording(id, source, name, carried, opener, stamp=self.shard.stamp, channel=self.shard.channel)


def unique_ids(column: pa.ChunkedArray | None) -> pa.ChunkedArray | None:
    """`column` as ids; None where it is not there, is no text or integer, or does not tell all rows apart."""
    kind = pa.null() if column is None else plain_type(column.type)  # a category of pandas is text
    if column is None or not (is_text(kind) or pa.types.is_integer(kind)):
        return None
    ids = clean_ids(_text(column).cast(pa.string()))
    told_apart = not ids.null_count and pc.count_distinct(ids).as_py() == len(ids)
    return ids if told_apart and not pc.any(pc.equal(ids, "")).as_py() else None


def _text(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return mend_text(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
