"""Names from file systems, archives and manifests -> ids: UTF-8 text without control characters."""

import hashlib
import os
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage.location import CONTROLS, redact

MAX_TEXT_BYTES = 2**31 - 1
"""Of a chunk of `string`, whose offsets have 32 bits."""

HASHED_AT_ONCE = 100_000
"""Ids that become Python strings at a time."""


def clean_id(name: str) -> str:
    r"""A file's or member's name as an id: undecodable bytes (surrogates) and control characters become \xNN."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name
    return re.sub(CONTROLS, lambda m: f"\\x{ord(m[0]):02x}", text)


def clean_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """`clean_id` for a string column; only rows with control characters become Python objects."""
    odd = pc.fill_null(pc.match_substring_regex(ids, CONTROLS), False)
    if not pc.any(odd).as_py():
        return ids
    mended = [clean_id(name) for name in ids.filter(odd).to_pylist()]
    return replaced(ids, odd, mended)


def redacted(locations: pa.ChunkedArray) -> pa.ChunkedArray:
    """`redact` for a string column: only rows with credentials or queries become Python objects."""
    secret = pc.fill_null(pc.match_substring_regex(locations, "^[A-Za-z][A-Za-z0-9+.-]*://.*[@?]"), False)
    if not pc.any(secret).as_py():
        return locations
    return replaced(locations, secret, [redact(location) for location in locations.filter(secret).to_pylist()])


def replaced(column: pa.ChunkedArray, where: pa.ChunkedArray, new: list[str]) -> pa.ChunkedArray:
    """A string column with the rows that `where` (bool) marks replaced by `new`."""
    return pc.replace_with_mask(column, where.combine_chunks(), pa.array(new, pa.string()))


def id_hashes(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """16 bytes (BLAKE2b) for each id, "S16" [n]: a fifth of the memory of ids, for sets of tens of millions of them."""
    hashes = np.empty(len(ids), "S16")
    for first in range(0, len(ids), HASHED_AT_ONCE):
        some = ids.slice(first, HASHED_AT_ONCE).to_pylist()
        digests = b"".join([hashlib.blake2b(id_.encode(), digest_size=16).digest() for id_ in some])
        hashes[first : first + len(some)] = np.frombuffer(digests, "S16")
    return hashes


def is_hidden(relative: str) -> bool:
    """True where the file, or a folder above it in the input, starts with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in relative.split("/"))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a carried column: no dictionaries and no views, also if nested, because Arrow cannot filter them;
    text for objects without fields, which Parquet does not have."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        fields = [field.with_type(plain_type(field.type)) for field in kind]
        return pa.struct(fields) if fields else pa.string()
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inside = kind.value_field.with_type(plain_type(kind.value_type))
        return pa.list_(inside) if pa.types.is_list(kind) else pa.large_list(inside)
    return kind


def narrow_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text or integers as `string`, of large_string too: each chunk may be a view of more than 2 GiB."""
    chunks = column.chunks
    if pa.types.is_large_string(column.type):  # the offsets of a view count from where all of the text begins
        chunks = [pa.concat_arrays([chunk]) if chunk.buffers()[2].size > MAX_TEXT_BYTES else chunk for chunk in chunks]
    return pa.chunked_array(chunks, column.type).cast(pa.string())


def mend_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    r"""A column of a `plain_type` whose text is valid UTF-8: other bytes become \xNN."""
    kind = column.type
    if _has_objects_without_fields(kind):
        values = [_with_text(value, kind) for value in column.to_pylist()]
        column = pa.chunked_array([pa.array(values, plain_type(kind))])
    elif plain_type(kind) != kind:
        column = column.cast(plain_type(kind))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    return pa.chunked_array([_mended(chunk) for chunk in column.chunks], column.type)


def _has_objects_without_fields(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return not kind.num_fields or any(_has_objects_without_fields(field.type) for field in kind)
    if pa.types.is_map(kind):
        return _has_objects_without_fields(kind.item_type)
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _has_objects_without_fields(kind.value_type)


def _with_text(value: Any, kind: pa.DataType) -> Any:
    """`value` of `kind`, "{}" in the place of an object without fields."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _with_text(value[field.name], field.type) for field in kind} if kind.num_fields else "{}"
    if pa.types.is_map(kind):
        return [(key, _with_text(item, kind.item_type)) for key, item in value]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_with_text(item, kind.value_type) for item in value]
    return value


def _mended(chunk: pa.Array) -> pa.Array:
    try:
        chunk.validate(full=True)
        return chunk
    except pa.ArrowInvalid:
        cells = chunk.cast(pa.large_binary(), safe=False).to_pylist()
        text = [cell if cell is None else cell.decode("utf-8", "backslashreplace") for cell in cells]
        return pa.array(text, chunk.type)
