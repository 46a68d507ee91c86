"""The path of a part -> an open Parquet file, of a store in as few requests as can be and several at once."""

import functools

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, LocalFileSystem, PyFileSystem

from pipeline.storage.at_once import at_once

WHOLE_BYTES = 1 << 20
"""A part of a store up to here is fetched whole: of a larger one the footer, then what is wanted of each row group."""


def open_part(fs: FileSystem, path: str) -> pq.ParquetFile:
    """A part to read from, its checksums of pages verified. Raises pa.ArrowException or OSError."""
    if isinstance(fs, LocalFileSystem):
        return pq.ParquetFile(path, filesystem=fs, page_checksum_verification=True)
    file = fs.open_input_file(path)
    if file.size() <= WHOLE_BYTES:
        return pq.ParquetFile(pa.BufferReader(file.read_buffer()), page_checksum_verification=True)
    if isinstance(fs, PyFileSystem):  # fsspec's files have one position, which threads would move under each other
        return pq.ParquetFile(file, page_checksum_verification=True)
    return _Remote(file)


class _Remote(pq.ParquetFile):
    """Of a store. Arrow asks for some columns of one row group after the other: between them lie codes."""

    def __init__(self, file: pa.NativeFile) -> None:
        super().__init__(file, page_checksum_verification=True)
        self.file = file

    def read(self, columns: list[str]) -> pa.Table:
        if self.num_row_groups < 2 or len(columns) == len(self.schema_arrow.names):
            return super().read(columns)
        return pa.concat_tables(at_once(functools.partial(self._group, columns), range(self.num_row_groups)))

    def _group(self, columns: list[str], number: int) -> pa.Table:
        file = pq.ParquetFile(self.file, metadata=self.metadata, page_checksum_verification=True)
        return file.read_row_group(number, columns)
