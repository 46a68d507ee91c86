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

ROWS_OF_A_TABLE = 64
"""A reader of a run hands so many short rows at most to Ray at once."""

_VALUES = pa.struct([field for field in CHUNK_SCHEMA if field.name != "audio"])
_NAMES = [field.name for field in CHUNK_SCHEMA if field.name != "audio"]


def tables(rows: Iterator[Mapping[str, Any]], schema: pa.Schema, most_rows: int) -> Iterator[pa.Table]:
    """Rows, in order, in tables of `most_rows` and of TABLE_BYTES of audio at most; a longer row is one alone, whose
    audio is not copied. What a row lacks is null."""
    carried = [field for field in schema if field.name not in CHUNK_SCHEMA.names]
    gathered: list[Mapping[str, Any]] = []
    held = 0
    for row in rows:
        beat()
        size = row["audio"].nbytes if "audio" in row else 0
        if gathered and held + size > TABLE_BYTES:
            yield _table(gathered, schema, carried)
            gathered, held = [], 0
        gathered.append(row)
        held += size
        if len(gathered) == most_rows or held >= TABLE_BYTES:
            yield _table(gathered, schema, carried)
            gathered, held = [], 0
    if gathered:
        yield _table(gathered, schema, carried)


def _table(rows: list[Mapping[str, Any]], schema: pa.Schema, carried: list[pa.Field]) -> pa.Table:
    values = pa.array(rows, _VALUES)  # all columns at once: a call for each of them takes longer than what it converts
    columns = {name: values.field(index) for index, name in enumerate(_NAMES)}
    columns["audio"] = lists_array([row.get("audio") for row in rows], np.float32)
    for field in carried:
        columns[field.name] = pa.concat_arrays([_cell(row[field.name], field.type) for row in rows])
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _cell(value: pa.Scalar, kind: pa.DataType) -> pa.Array:
    """A carried value; pa.array trips over lists that are null."""
    return pa.repeat(value, 1) if value.is_valid else pa.nulls(1, kind)
