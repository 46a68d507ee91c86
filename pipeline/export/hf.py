"""A folder of the `datasets` library: data/train-00000-of-00010.parquet, the run's columns.

`codes` is a list of lists of 16 int16; the texts that were named are columns `text`, `speaker`, ..., in the place of
carried columns of these names, so that every exported corpus has the same. load_dataset("DIR") loads it,
load_dataset("DIR", streaming=True) streams it.
"""

import pyarrow as pa

from pipeline.export.parquet import write_parquet
from pipeline.export.records import OF_CHUNKS, text_column
from pipeline.export.shard import Format, Shard


def _write(shard: Shard) -> None:
    texts = shard.columns.named()
    fields = [field.with_type(_plain(field.type)) for field in shard.schema if field.name not in (*OF_CHUNKS, *texts)]
    schema = pa.schema([*fields, *((name, pa.string()) for name in texts)])

    def table_of(rows: pa.Table) -> pa.Table:
        named = [text_column(rows, column) for column in texts.values()]
        return pa.Table.from_arrays([*(rows[field.name] for field in fields), *named], schema.names)

    write_parquet(shard, schema, table_of)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The same with types that `datasets` has: a map is a list of its keys and values, a UUID its 16 bytes."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_map(kind):
        return pa.list_(pa.struct([("key", _plain(kind.key_type)), ("value", _plain(kind.item_type))]))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inside = kind.value_field.with_type(_plain(kind.value_type))
        if types.is_fixed_size_list(kind):
            return pa.list_(inside, kind.list_size)
        return pa.large_list(inside) if types.is_large_list(kind) else pa.list_(inside)
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return pa.binary() if types.is_fixed_size_binary(kind) else kind


def _files(number: int, shards: int) -> list[str]:
    return [f"data/train-{number:05d}-of-{shards:05d}.parquet"]


FORMAT = Format(_write, _files)
