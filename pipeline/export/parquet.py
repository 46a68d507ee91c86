"""Parquet of trainers: tables in, row groups that can be streamed, features declared."""

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.shard import Shard

ROW_GROUP_ROWS = 256
"""About 1 MB of codes of ten-second recordings: what `datasets` reads at a time when it streams."""
ROW_GROUP_BYTES = 16 << 20
"""Of codes and columns in memory, at most but for the last table: recordings may be hours long."""


def write_parquet(shard: Shard, schema: pa.Schema, table_of: Callable[[pa.Table], pa.Table]) -> None:
    """Create the Parquet file of the shard's tables; `table_of` makes each one have `schema`."""

    def fill(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, declared(schema), compression="zstd", write_page_index=True) as writer:
            for rows in _groups(shard.tables):
                writer.write_table(table_of(rows).cast(schema))

    shard.create(shard.files[0], fill)


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, ROW_GROUP_ROWS at a time, fewer where they are large."""
    waiting: list[pa.Table] = []
    for rows in tables:
        waiting.append(rows)
        while sum(map(len, waiting)) >= ROW_GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROW_GROUP_ROWS)
            waiting = [joined.slice(ROW_GROUP_ROWS)]
        if sum(table.nbytes for table in waiting) >= ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting)


def declared(schema: pa.Schema) -> pa.Schema:
    """`schema` with the metadata from which `datasets` takes its features, so that every shard loads as the same.

    A column of a rarer type (a duration, a decimal) is left out of it: `datasets` derives its feature from the type.
    """
    features = {field.name: feature for field in schema if (feature := _feature(field.type)) is not None}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> dict[str, Any] | None:
    """The feature of an Arrow type, as `datasets.Features.to_dict` writes it; None for a type not in the table."""
    if pa.types.is_struct(kind):
        fields = {field.name: _feature(field.type) for field in kind}
        return None if None in fields.values() else fields
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inside = _feature(kind.value_type)
        length = {"length": kind.list_size} if pa.types.is_fixed_size_list(kind) else {}
        name = "LargeList" if pa.types.is_large_list(kind) else "List"
        return None if inside is None else {"feature": inside, **length, "_type": name}
    return {"dtype": _DTYPES[kind], "_type": "Value"} if kind in _DTYPES else None


_DTYPES: dict[pa.DataType, str] = {
    **{pa.type_for_alias(f"int{bits}"): f"int{bits}" for bits in (8, 16, 32, 64)},
    **{pa.type_for_alias(f"uint{bits}"): f"uint{bits}" for bits in (8, 16, 32, 64)},
    pa.float16(): "float16",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.bool_(): "bool",
    pa.string(): "string",
    pa.large_string(): "large_string",
    pa.binary(): "binary",
    **{pa.timestamp(unit): f"timestamp[{unit}]" for unit in ("s", "ms", "us", "ns")},
}
