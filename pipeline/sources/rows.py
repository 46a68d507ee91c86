"""Tables of tens of millions of recordings, on the driver: nulls, choices and pickles without copies.

Text stays in chunks: pyarrow joins the chunks of a column before it takes rows from it, which doubles the memory, and
fails where the column holds 2 GiB.
"""

import functools

import numpy as np
import pyarrow as pa

NULLS = 1 << 16
"""Rows of the block that stands for all nulls of a type."""
TAKEN_AT_ONCE = 100_000


def nulls(rows: int, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of nulls: one block of them, again and again. It takes no memory, however long it is."""
    whole, rest = divmod(rows, NULLS)
    return pa.chunked_array([*[_block(kind)] * whole, pa.nulls(rest, kind)], kind)


@functools.cache
def _block(kind: pa.DataType) -> pa.Array:
    return pa.nulls(NULLS, kind)


def is_empty(column: pa.ChunkedArray) -> bool:
    """Whether all rows are null."""
    return column.null_count == len(column)


def kept(table: pa.Table, mask: np.ndarray) -> pa.Table:
    """The rows that `mask` (bool [n]) marks; `table` itself where it marks all."""
    rows = int(np.count_nonzero(mask))
    if rows in (0, len(table)):
        return table.slice(0, rows)
    chosen = pa.array(mask)
    columns = [nulls(rows, c.type) if is_empty(c) else c.filter(chosen) for c in table.columns]
    return pa.table(columns, schema=table.schema)


def taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The rows of these numbers, in this order; each is looked up in its own chunk."""
    batches = table.to_batches()
    ends = np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)
    pieces = (rows[first : first + TAKEN_AT_ONCE] for first in range(0, len(rows), TAKEN_AT_ONCE))
    return pa.concat_tables([table.schema.empty_table(), *(_taken(batches, ends, piece) for piece in pieces)])


def _taken(batches: list[pa.RecordBatch], ends: np.ndarray, rows: np.ndarray) -> pa.Table:
    where = np.searchsorted(ends, rows, side="right")
    order = np.argsort(where, kind="stable")
    found = []
    for number in np.unique(where).tolist():
        inside = rows[where == number] - (ends[number] - batches[number].num_rows)
        found.append(batches[number].take(pa.array(inside, pa.int64())))
    return pa.Table.from_batches(found).take(pa.array(np.argsort(order), pa.int64()))


def packed(table: pa.Table) -> bytes:
    """A view of some rows -> those rows and no others, compressed: a third of their size, and no nulls."""
    sink = pa.BufferOutputStream()
    full = table.drop_columns([name for name in table.column_names if is_empty(table[name])])
    with pa.CompressedOutputStream(sink, "zstd") as stream, pa.ipc.new_stream(stream, full.schema) as writer:
        for batch in full.to_batches():
            if batch.num_rows:  # of an empty view of text, all that follows it would be written
                writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def unpacked(data: bytes, schema: pa.Schema) -> pa.Table:
    """What was `packed`, a table of `schema`."""
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream, pa.ipc.open_stream(stream) as reader:
        full = reader.read_all()
    there = set(full.schema.names)
    columns = [full[f.name] if f.name in there else nulls(len(full), f.type) for f in schema]
    return pa.table(columns, schema=schema)
