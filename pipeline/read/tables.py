"""Rows of the read stage -> Arrow tables. Many short rows share one: a table costs Ray more than reading half a second.

How many do depends on the rows alone, never on time: Ray drops as many blocks of a reader that was started again as the
first one delivered, and its blocks are cut out of these tables.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from actors.pools.arrow import lists_array
from actors.watchdog import beat
from pipeline.schema import CHUNK_SCHEMA

TABLE_BYTES = 1 << 20
"""Of audio in a table of several rows, 11 s: small beside a block, so that rows wait for no more than now."""


def tables(rows: Iterator[Mapping[str, Any]], schema: pa.Schema, most_rows: int) -> Iterator[pa.Table]:
    """Rows, in order, in tables of `most_rows` and of TABLE_BYTES of audio at most; a longer row is one alone, whose
    audio is not copied. What a row lacks is null."""
    gathered: list[Mapping[str, Any]] = []
    held = 0
    for row in rows:
        beat()
        size = row["audio"].nbytes if "audio" in row else 0
        if gathered and held + size > TABLE_BYTES:
            yield _table(gathered, schema)
            gathered, held = [], 0
        gathered.append(row)
        held += size
        if len(gathered) == most_rows or held >= TABLE_BYTES:
            yield _table(gathered, schema)
            gathered, held = [], 0
    if gathered:
        yield _table(gathered, schema)


def _table(rows: list[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(
        [_column([row.get(field.name) for row in rows], field) for field in schema], schema=schema
    )


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    if field.name == "audio":
        return lists_array(values, np.float32)
    if field.name in CHUNK_SCHEMA.names:
        return pa.array(values, field.type)
    return pa.concat_arrays([_cell(value, field.type) for value in values])


def _cell(value: pa.Scalar, kind: pa.DataType) -> pa.Array:
    """A carried value; pa.array trips over lists that are null."""
    return pa.repeat(value, 1) if value.is_valid else pa.nulls(1, kind)
