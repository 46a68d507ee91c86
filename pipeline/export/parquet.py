"""Parquet of trainers: tables in, row groups that can be streamed. `datasets` of any version derives its features from
the Arrow types; metadata that declares them would name those of one version."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

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
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_index=True) as writer:
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
