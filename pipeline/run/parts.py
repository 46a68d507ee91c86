"""A part of a run, or any Parquet with a run's columns -> a validated Arrow table. All readers of parts use this.

Torn files, foreign files and impossible rows are an OutputError that names the file, what was seen and what to do.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline.errors import OutputError, plural
from pipeline.run.layout import FOLDERS
from pipeline.run.part_file import open_part
from pipeline.run.row_faults import row_faults
from pipeline.schema import CODES_SCHEMA, MAY_LACK
from pipeline.storage.at_once import on_store
from pipeline.storage.location import redact
from pipeline.storage.text import clean_id
from pipeline.storage.translate import errors_as

BATCH_ROWS = 256
"""Chunks that are read at a time when a part is streamed."""
ROWS_A_BYTE = 8
"""More rows per compressed byte are refused. Rows that differ take at least 2 bytes; a small file of billions of equal
rows would fill the memory."""
OPENED_AHEAD = 8
"""Parts of a store that are opened before the one that is read is over."""
_FOREIGN = "Expected a run, or whole Parquet files with its columns (id, codes, ...)"
_ADVICE = (
    "It is torn, changed, or not a part of this run: `voxmill check RUN --repair` deletes it, then the command that "
    "made the run makes its recordings again"
)
_GONE = "The run was changed since it was opened: open it again"


def read_part(fs: FileSystem, path: str, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """A part without faults in its rows, as far as `columns` (None: all) show. Raises OutputError if there is one.

    Columns of `schema` get its types; carried columns keep theirs, if the part has them.
    """
    return read_with_schema(fs, path, schema, columns)[1]


def read_with_schema(
    fs: FileSystem, path: str, schema: pa.Schema, columns: list[str] | None
) -> tuple[pa.Schema, pa.Table]:
    """The schema of a part and `read_part`; it is opened once."""
    with _advising(path), open_part(fs, path) as file:
        return _schema(file, schema), _sound(parse(file, schema, columns), path)


def read_content(content: pa.Buffer, path: str, schema: pa.Schema, columns: list[str]) -> tuple[pa.Schema, pa.Table]:
    """`read_with_schema` of the bytes of the part at `path`."""
    with _advising(path), pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        return _schema(file, schema), _sound(parse(file, schema, columns), path)


def read_rows(fs: FileSystem, path: str, rows: list[int]) -> pa.Table:
    """Some rows of a part of codes, by their numbers, in its order: only the row groups that hold them are read. Raises
    OutputError as `read_part` does."""
    with _advising(path), open_part(fs, path) as file:
        _check_names(file.schema_arrow.names, CODES_SCHEMA)
        _check_rows(file.metadata)
        sizes = np.array([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        held = np.unique(np.searchsorted(np.cumsum(sizes), rows, side="right"))
        numbers = np.concatenate([np.arange(sizes[group]) + sizes[:group].sum() for group in held])
        table = file.read_row_groups(held.tolist()).filter(pa.array(np.isin(numbers, rows)))
        return _sound(_filled(conform(table, CODES_SCHEMA), CODES_SCHEMA, CODES_SCHEMA.names), path)


def stream_part(fs: FileSystem, path: str) -> Iterator[pa.Table]:
    """The rows of a part of codes, a few at a time. Raises OutputError as `read_part` does."""
    return (rows for _, rows in stream_parts(fs, [path]))


def stream_parts(fs: FileSystem, paths: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """`stream_part` of each, with its number among `paths`. Of a store, the next ones are opened ahead."""
    files = on_store(fs, functools.partial(_opened, fs), paths, OPENED_AHEAD)
    for number, (path, file) in enumerate(zip(paths, files, strict=True)):
        with _advising(path), file:
            for rows in batches(file, CODES_SCHEMA, BATCH_ROWS):
                yield number, _sound(rows, path)


def join_schemas(schemas: Iterable[pa.Schema], paths: Iterable[str]) -> pa.Schema:
    """CODES_SCHEMA, then the carried columns of all parts of codes, whose schemas and paths are given. As `join`."""
    first: dict[pa.Schema, str] = {}  # 50,000 parts have a few schemas
    for schema, path in zip(schemas, paths, strict=True):
        first.setdefault(schema, path)
    return join([CODES_SCHEMA.empty_table(), *(schema.empty_table() for schema in first)], [*first.values()]).schema


def part_schema(fs: FileSystem, path: str) -> pa.Schema:
    """The schema of a part of codes, from its footer. Raises OutputError if it lacks columns of CODES_SCHEMA."""
    with _advising(path), open_part(fs, path) as file:
        return _schema(file, CODES_SCHEMA)


def _schema(file: pq.ParquetFile, schema: pa.Schema) -> pa.Schema:
    found = file.schema_arrow.remove_metadata()
    _check_names(found.names, schema)
    return _filled(found.empty_table(), schema, schema.names).schema


def _opened(fs: FileSystem, path: str) -> pq.ParquetFile:
    with _advising(path):
        return open_part(fs, path)


def parse(file: pq.ParquetFile, schema: pa.Schema, columns: list[str] | None = None, exact: bool = False) -> pa.Table:
    """The table of an open part; its rows may have faults. Raises pa.ArrowException or OSError.

    `exact`: other types than those of `schema` are refused, even if they could be cast.
    """
    names = file.schema_arrow.names
    _check_names(names, schema)
    _check_rows(file.metadata)
    wanted = names if columns is None else [name for name in columns if name in names]
    table = conform(file.read(wanted).select(wanted), schema, exact)
    return _filled(table, schema, schema.names if columns is None else columns)


def batches(
    file: pq.ParquetFile, schema: pa.Schema, rows: int, exact: bool = False, threads: bool = True
) -> Iterator[pa.Table]:
    """`parse` of all columns, `rows` at a time: two to three times as fast as all at once, whose memory no cache
    holds. `threads`: several columns at a time, which is for a store, or where no other part is read meanwhile."""
    _check_names(file.schema_arrow.names, schema)
    _check_rows(file.metadata)
    conform(file.schema_arrow.empty_table(), schema, exact)
    for batch in file.iter_batches(batch_size=rows, use_threads=threads):
        yield _filled(conform(pa.Table.from_batches([batch]), schema, exact), schema, schema.names)


def conform(table: pa.Table, schema: pa.Schema, exact: bool = False) -> pa.Table:
    """The columns of `schema` cast to its types, because other writers may choose wider ones; valid Arrow."""
    table.validate()
    there, known = table.column_names, schema.names  # Arrow makes a new list each time
    # A damaged file may hold invalid UTF-8. Carried columns are not checked: they may hold, say, times past midnight.
    table.select([name for name in known if name in there]).validate(full=True)
    for index, name in enumerate(there):
        if name not in known or table.schema.field(index).type == schema.field(name).type:
            continue
        seen, expected = table.schema.field(index).type, schema.field(name).type
        if exact:
            raise pa.ArrowInvalid(f"column {name!r} is {seen}, expected {expected}")
        try:
            column = table.column(index).cast(expected)
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(f"column {name!r} is {seen}, expected {expected}: {error}") from None
        table = table.set_column(index, schema.field(name), column)
    return table


def _filled(table: pa.Table, schema: pa.Schema, columns: list[str]) -> pa.Table:
    """`table` with nulls for those of `columns` that a part may lack; `columns` come first then."""
    may = (MAY_LACK - {*table.column_names}).intersection(schema.names)
    lacking = [name for name in columns if name in may]
    if not lacking:
        return table
    for name in lacking:
        table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    first = [name for name in columns if name in table.column_names]
    return table.select([*first, *(name for name in table.column_names if name not in first)])


def join(tables: list[pa.Table], paths: list[str]) -> pa.Table:
    """Tables of several parts as one; a carried column that some of them lack is null there."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise OutputError(
            f"Carried columns have types that cannot be combined ({error}). Read these parts one by one: "
            f"{', '.join(map(redact, paths[:3]))}{', ...' if len(paths) > 3 else ''}."
        ) from None


def _check_names(names: list[str], schema: pa.Schema) -> None:
    counts = Counter(names)
    for name in schema.names:
        if name not in counts and name not in MAY_LACK:
            raise pa.ArrowInvalid(f"column {name!r} is missing")
    name, times = counts.most_common(1)[0]
    if times > 1:
        raise pa.ArrowInvalid(f"{times} columns are called {name!r}")


def _check_rows(metadata: pq.FileMetaData) -> None:
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        size = sum(group.column(column).total_compressed_size for column in range(group.num_columns))
        if group.num_rows > ROWS_A_BYTE * size:
            raise pa.ArrowInvalid(f"{group.num_rows} rows in {size} bytes")


def _sound(table: pa.Table, path: str) -> pa.Table:
    for text, where in row_faults(table):
        if where.any():
            row = int(np.flatnonzero(where)[0])
            id_ = table["id"][row].as_py() if "id" in table.column_names else None
            raise OutputError(f"{redact(path)}: {plural(int(where.sum()), 'impossible row')}, first {id_!r}: {text}")
    return table


@contextlib.contextmanager
def _advising(path: str) -> Iterator[None]:
    try:
        with errors_as(path, OutputError):
            yield
    except OutputError as error:
        advice = _ADVICE if path.rpartition("/")[0].rpartition("/")[2] in FOLDERS else _FOREIGN
        advice = _GONE if isinstance(error.__context__, FileNotFoundError) else advice
        advice = "" if isinstance(error.__context__, PermissionError) else f". {advice}."
        raise OutputError(f"{clean_id(str(error))}{advice}") from None  # Arrow quotes bytes of the file
