"""A part -> its sha256, the keys of its rows and what is wrong with them; or why it is no part."""

import hashlib
import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.errors import InputError
from pipeline.run.part_keys import PLACE, prints
from pipeline.run.parts import batches, parse
from pipeline.run.row_faults import row_faults
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, FINGERPRINT_SCHEMA
from pipeline.storage.text import id_hashes
from pipeline.storage.translate import errors_as, reason

ID = pa.field("id", pa.large_string())  # 64 bit offsets: the ids of a run may take more than 2 GiB
KEY = pa.field("key", pa.binary(16))  # `id_hashes`
KEPT = ["chunk", "chunks", "num_frames", "num_samples", *PLACE]
ROWS_SCHEMA = pa.schema(
    [
        ID,
        KEY,
        *(CODES_SCHEMA.field(name) for name in KEPT),
        ("print", pa.binary(8)),  # a hash of the fingerprint; zeros for a recording of one chunk
        ("fault", pa.string()),  # null, or what is wrong with the row
    ]
)
FAILED_SCHEMA = pa.schema([ID, KEY, *(field for field in FAILURES_SCHEMA if field.name != "id")])

BATCH_BYTES = 8 << 20
"""Of Parquet pages, that are decoded at a time."""
MOST_ROWS = 8192


@dataclass(frozen=True)
class Examined:
    """What a part holds."""

    sha256: str  # "" of what is no file
    torn: str  # why it cannot be read; "" if it can
    rows: pa.Table  # ROWS_SCHEMA or FAILED_SCHEMA


def examine_codes(fs: FileSystem, chunk_samples: int | None, codebook_size: int, path: str) -> Examined:
    """Read a part of codes completely. `chunk_samples` (24 kHz) and `codebook_size` of the run, as `row_faults` takes
    them. Raises InputError if the file system fails."""
    sha256 = ""
    try:
        content = _content(fs, path)
        sha256 = hashlib.sha256(content).hexdigest()
        with _open(content) as file:
            some = batches(file, CODES_SCHEMA, _batch_rows(file.metadata), exact=True)
            rows = [_rows(table, row_faults(table, chunk_samples, codebook_size)) for table in some]
        return Examined(sha256, "", pa.concat_tables([ROWS_SCHEMA.empty_table(), *rows]).combine_chunks())
    except (pa.ArrowException, OSError, UnicodeError) as error:
        return Examined(sha256, reason(error), ROWS_SCHEMA.empty_table())


def examine_failures(fs: FileSystem, path: str) -> Examined:
    """As `examine_codes`, of a part of failures or skipped ones."""
    try:
        with _open(_content(fs, path)) as file:
            table = parse(file, FAILURES_SCHEMA, exact=True).select(FAILURES_SCHEMA.names)
        if any(where.any() for _, where in row_faults(table)):
            raise pa.ArrowInvalid("it has rows without id, stage or error")
        columns = [*_named(table), *table.columns[1:]]
        return Examined("", "", pa.Table.from_arrays(columns, schema=FAILED_SCHEMA))
    except (pa.ArrowException, OSError, UnicodeError) as error:
        return Examined("", reason(error), FAILED_SCHEMA.empty_table())


def _content(fs: FileSystem, path: str) -> bytes:
    """The bytes of a part. Raises InputError if the file system fails, OSError if `path` is a folder."""
    if isinstance(fs, LocalFileSystem) and os.path.isdir(path):
        raise IsADirectoryError("a folder, expected a file")
    with errors_as(path, InputError), fs.open_input_stream(path) as file:
        return file.read()


def _open(content: bytes) -> pq.ParquetFile:
    """Raises pa.ArrowException or OSError if it is no Parquet."""
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows that take about BATCH_BYTES."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(MOST_ROWS, BATCH_BYTES * max(1, metadata.num_rows) // max(1, size)))


def _rows(table: pa.Table, faults: list[tuple[str, np.ndarray]]) -> pa.Table:
    fault = np.full(len(table), -1, np.int8)
    for number, (_, mask) in reversed(list(enumerate(faults))):
        fault[mask] = number
    texts = pa.array([text for text, _ in faults], pa.string())
    long = pc.fill_null(pc.greater(table["chunks"], 1), False).to_numpy()
    print_ = np.zeros(len(table), "S8")
    print_[long] = prints(table.select(FINGERPRINT_SCHEMA.names).filter(pa.array(long)), FINGERPRINT_SCHEMA.names)
    columns = [
        *_named(table),
        *(table[name] for name in KEPT),
        _fixed(print_),
        texts.take(pa.array(fault, mask=fault < 0)),
    ]
    return pa.Table.from_arrays(columns, schema=ROWS_SCHEMA)


def _named(table: pa.Table) -> list[pa.Array | pa.ChunkedArray]:
    """Ids and their hashes; a row without an id has the hash of its absence, which is no text's."""
    ids = table["id"].cast(pa.large_string())
    hashes = id_hashes(pc.fill_null(ids, ""))
    if ids.null_count:
        hashes = np.where(ids.is_null().to_numpy(), np.array(b"\xff" * 16), hashes)
    return [ids, _fixed(hashes)]


def _fixed(hashes: np.ndarray) -> pa.Array:
    """Bytes in numpy -> the same in Arrow."""
    return pa.Array.from_buffers(pa.binary(hashes.itemsize), len(hashes), [None, pa.py_buffer(hashes)])
