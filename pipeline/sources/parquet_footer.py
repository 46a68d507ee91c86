"""A Parquet shard's footer -> the audio column, the carried columns, and the size of its row groups."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, UnreadableAudio
from pipeline.sources.task import carried_names
from pipeline.storage.access import Access
from pipeline.storage.location import redact
from pipeline.storage.opening import open_ranges
from pipeline.storage.text import plain_type
from pipeline.storage.translate import errors_as

BINARY_COLUMNS = ("audio", "bytes", "wav")
"""Plain binary columns that count as audio; others must be named."""


@dataclass(frozen=True)
class Footer:
    """What planning needs to know of a shard. `audio` None: a manifest, or not an input of voxmill."""

    audio: str | None
    carried: pa.Schema
    rows: list[int]  # of each row group
    bytes: list[int]


def read_footer(location: str, column: str | None, access: Access) -> Footer:
    """Schema and row groups. Raises UnreadableAudio, or InputError if the audio column is ambiguous."""
    with errors_as(location, UnreadableAudio), open_ranges(location, access) as file:
        metadata = pq.ParquetFile(file).metadata
        schema = metadata.schema.to_arrow_schema().remove_metadata()
    audio = audio_column(schema, column, location)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    carried = pa.schema([])
    if audio is not None:
        carried = pa.schema([pa.field(new, plain_type(schema.field(i).type)) for i, new in travelling(schema, audio)])
    return Footer(audio, carried, [g.num_rows for g in groups], [g.total_byte_size for g in groups])


def audio_column(schema: pa.Schema, column: str | None, location: str) -> str | None:
    """The column of encoded audio, None if there is none. Raises InputError if it is ambiguous."""
    times = Counter(schema.names)
    audio = [field.name for field in schema if _holds_bytes(field) and times[field.name] == 1]
    named = [name for name in ([column] if column else BINARY_COLUMNS) if name in audio]
    structs = [field.name for field in schema if field.name in audio and pa.types.is_struct(field.type)]
    if named or column:
        return named[0] if named else None
    if len(structs) > 1:
        raise InputError(
            f"{redact(location)}: columns {', '.join(structs)} all hold bytes; name the audio with input.column"
        )
    return structs[0] if structs else None


def _holds_bytes(field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def travelling(schema: pa.Schema, audio: str) -> list[tuple[int, str]]:
    """Index and new name of all columns but the audio."""
    indices = [i for i, name in enumerate(schema.names) if name != audio]
    return list(zip(indices, carried_names([schema.names[i] for i in indices]), strict=True))


def is_text(kind: pa.DataType) -> bool:
    """UTF-8, with 32 or 64 bit offsets, or views."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
