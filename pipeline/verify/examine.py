"""A part -> its sha256, the keys of its rows and what is wrong with them; or why it is no part."""

import hashlib
import os
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.errors import InputError
from pipeline.run.part_keys import PLACE, in_file, prints
from pipeline.run.parts import batches, parse
from pipeline.run.row_faults import row_faults
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, FINGERPRINT_SCHEMA, SKIP
from pipeline.storage.text import id_hashes
from pipeline.storage.translate import errors_as, reason

ROW = pa.field("row", pa.int64())  # its number
ODD_SCHEMA = pa.schema(
    [
        ROW,
        *(CODES_SCHEMA.field(name) for name in ("chunk", "chunks")),
        ("print", pa.binary(8)),  # a hash of the fingerprint; zeros for a recording of one chunk
        ("fault", pa.string()),  # null, or what is wrong with the row
    ]
)
"""Rows that have a fault, or are not the only chunk of their recording. Few do: a table of all would take 30 bytes a
row."""
IN_FILE_SCHEMA = pa.schema([ROW, ("id", pa.large_string()), *((name, pa.int32()) for name in PLACE)])
"""Rows that are `part_keys.in_file`. 64 bit offsets: the ids of a run may take more than 2 GiB."""
COMPARED = ["id", *FINGERPRINT_SCHEMA.names]
"""What says which recording a row is of, and what it was read from."""
READ = pa.schema(
    [
        *(CODES_SCHEMA.field(name) for name in ("chunk", "chunks", "num_frames", "num_samples", "source_channels")),
        *(CODES_SCHEMA.field(name) for name in COMPARED),
        ("fault", pa.string()),
    ]
)

BATCH_BYTES = 8 << 20
"""Of memory, that decoding takes at a time."""
VALUE_BYTES = 10
"""A code while it is decoded: 4 as Parquet's int32, 2 as int16, 4 for the levels of its lists. In the file it takes 11
bits, or none: Parquet keeps runs of equal codes."""
MOST_ROWS = 8192
NO_ID = b"\xff" * 16
"""The key of a row without an id. No text is known to have this hash."""


@dataclass(frozen=True)
class Examined:
    """What a part holds. Of a part that cannot be read, nothing."""

    sha256: str = ""  # of a part of codes; "" of what is no file
    torn: str = ""  # why it cannot be read
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, "S16"))  # [rows]: `id_hashes`
    odd: pa.Table = field(default_factory=ODD_SCHEMA.empty_table)
    in_file: pa.Table = field(default_factory=IN_FILE_SCHEMA.empty_table)
    samples: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # of codes, [rows]: at 24 kHz
    frames: int = 0
    skipped: int = 0
    compared: pa.Table | None = None  # COMPARED of all rows, if that was asked for and none has a fault


def examine_codes(fs: FileSystem, chunk_samples: int | None, codebook_size: int, compare: bool, path: str) -> Examined:
    """Read a part of codes completely. `chunk_samples` (24 kHz) and `codebook_size` of the run, as `row_faults` takes
    them. Raises InputError if the file system fails."""
    sha256 = ""
    try:
        content = _content(fs, path)
        sha256 = hashlib.sha256(content).hexdigest()
        with _open(content) as file:
            some = batches(file, CODES_SCHEMA, _batch_rows(file.metadata), exact=True, threads=False)
            rows = [_narrow(table, row_faults(table, chunk_samples, codebook_size)) for table in some]
        return _coded(sha256, pa.concat_tables([READ.empty_table(), *rows]), compare)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        return Examined(sha256, reason(error))


def examine_failures(fs: FileSystem, compare: bool, path: str) -> Examined:
    """As `examine_codes`, of a part of failures or skipped ones."""
    try:
        with _open(_content(fs, path)) as file:
            rows = parse(file, FAILURES_SCHEMA, exact=True)
        if any(where.any() for _, where in row_faults(rows)):
            raise pa.ArrowInvalid("it has rows without id, stage or error")
    except (pa.ArrowException, OSError, UnicodeError) as error:
        return Examined(torn=reason(error))
    return Examined(
        keys=keys_of(rows["id"]),
        in_file=_in_file(rows),
        skipped=pc.sum(pc.equal(rows["stage"], SKIP)).as_py() or 0,
        compared=rows.select(COMPARED) if compare else None,
    )


def keys_of(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """`id_hashes`, NO_ID for null."""
    hashes = id_hashes(pc.fill_null(ids, ""))
    return np.where(ids.is_null().to_numpy(False), np.array(NO_ID), hashes) if ids.null_count else hashes


def _content(fs: FileSystem, path: str) -> pa.Buffer:
    """The bytes of a part. Raises InputError if the file system fails, OSError if `path` is a folder."""
    if isinstance(fs, LocalFileSystem) and os.path.isdir(path):
        raise IsADirectoryError("a folder, expected a file")
    with errors_as(path, InputError), fs.open_input_file(path) as file:
        return file.read_buffer()  # a stream is read in pieces of 256 KiB, each a request to a store, and joined


def _open(content: pa.Buffer) -> pq.ParquetFile:
    """Raises pa.ArrowException or OSError if it is no Parquet."""
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows that take about BATCH_BYTES."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    size = sum(group.total_byte_size for group in groups) + VALUE_BYTES * values
    return max(1, min(MOST_ROWS, BATCH_BYTES * max(1, metadata.num_rows) // max(1, size)))


def _narrow(table: pa.Table, faults: list[tuple[str, np.ndarray]]) -> pa.Table:
    """READ of some rows: the first of their faults, and no codes."""
    fault = np.full(len(table), -1, np.int8)
    for number, (_, mask) in reversed(list(enumerate(faults))):
        fault[mask] = number
    texts = pa.array([text for text, _ in faults], pa.string())
    columns = [table[name] for name in READ.names[:-1]]
    return pa.Table.from_arrays([*columns, texts.take(pa.array(fault, mask=fault < 0))], schema=READ)


def _coded(sha256: str, rows: pa.Table, compare: bool) -> Examined:
    """`rows`: READ."""
    chunk, chunks = (pc.fill_null(rows[name], -1).to_numpy() for name in ("chunk", "chunks"))
    sound = rows["fault"].is_null().to_numpy()
    odd = np.flatnonzero((chunk != 0) | (chunks != 1) | ~sound)
    return Examined(
        sha256,
        keys=keys_of(rows["id"]),
        odd=_odd(rows, odd) if len(odd) else ODD_SCHEMA.empty_table(),
        in_file=_in_file(rows),
        samples=pc.fill_null(rows["num_samples"], 0).to_numpy(),
        frames=pc.sum(rows["num_frames"]).as_py() or 0,
        compared=rows.select(COMPARED) if compare and sound.all() else None,
    )


def _odd(rows: pa.Table, numbers: np.ndarray) -> pa.Table:
    """ODD_SCHEMA of the rows of these numbers."""
    some = rows.take(pa.array(numbers))
    long = pc.fill_null(pc.greater(some["chunks"], 1), False).to_numpy()
    print_ = np.zeros(len(some), "S8")
    print_[long] = prints(some.filter(pa.array(long)), FINGERPRINT_SCHEMA.names)
    fixed = pa.Array.from_buffers(pa.binary(8), len(print_), [None, pa.py_buffer(print_)])
    columns = [pa.array(numbers), some["chunk"], some["chunks"], fixed, some["fault"]]
    return pa.Table.from_arrays(columns, schema=ODD_SCHEMA)


def _in_file(rows: pa.Table) -> pa.Table:
    """IN_FILE_SCHEMA of those of `rows` that are."""
    numbers = pa.array(np.flatnonzero(in_file(rows)))
    some = rows.select(["id", *PLACE]).take(numbers)
    return pa.Table.from_arrays([numbers, some["id"].cast(pa.large_string()), *some.columns[1:]], schema=IN_FILE_SCHEMA)
