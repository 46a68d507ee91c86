"""A note: a small Parquet file in a folder of the run, which a later command uses, and can do without."""

import functools
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from pipeline.storage.atomic import Check, write_whole


def write_note(fs: FileSystem, folder: str, rows: pa.Table, check: Check) -> None:
    """Write `rows`, if there are any, as one more note in `folder`."""
    if len(rows):
        save = functools.partial(pq.write_table, rows, compression="none", write_page_checksum=True)
        write_whole(fs, f"{folder}/part-{uuid.uuid4().hex}.parquet", save, check)


def note_infos(fs: FileSystem, folder: str) -> list[FileInfo]:
    """All notes in `folder`."""
    found = fs.get_file_info(FileSelector(folder, allow_not_found=True))
    return [info for info in found if info.type == FileType.File and info.base_name.endswith(".parquet")]


def read_note(fs: FileSystem, path: str, schema: pa.Schema) -> pa.Table:
    """Its rows; none where it is damaged."""
    try:
        with fs.open_input_file(path) as file:
            return pq.read_table(file, schema=schema, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return schema.empty_table()
