"""A folder of the `datasets` library: data/train-00000-of-00010.parquet, the run's columns, features declared.

`codes` is a list of lists of 16 int16; the texts that were named are columns `text`, `speaker`, ..., so that every
exported corpus has the same names. load_dataset("DIR") loads it, load_dataset("DIR", streaming=True) streams it.
"""

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.export.parquet import write_parquet
from pipeline.export.records import OF_CHUNKS, Columns, text_column
from pipeline.export.shard import Format, Shard


def _write(shard: Shard) -> None:
    def table_of(rows: pa.Table) -> pa.Table:
        for name, column in _new_columns(shard.columns, rows.schema).items():
            rows = rows.append_column(name, text_column(rows, column))
        return rows.drop_columns(list(OF_CHUNKS))

    write_parquet(shard, _name(shard.number, shard.shards), _schema(shard.schema, shard.columns), table_of)


def _schema(run: pa.Schema, columns: Columns) -> pa.Schema:
    fields = [field.with_type(_plain(field.type)) for field in run if field.name not in OF_CHUNKS]
    return pa.schema([*fields, *((name, pa.string()) for name in _new_columns(columns, run))])


def _new_columns(columns: Columns, run: pa.Schema) -> dict[str, str]:
    """What is added to the run's own columns: a text that has its name already is not."""
    new = {name: column for name, column in columns.named().items() if name != column}
    taken = [name for name in new if name in run.names]
    if taken:
        raise InputError(f"The run carries a column {taken[0]!r} already; --{taken[0]} names another. Take that one.")
    return new


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _name(number: int, shards: int) -> str:
    return f"data/train-{number:05d}-of-{shards:05d}.parquet"


FORMAT = Format(_write, _name)
