"""RUN/.containers/: which containers were read to their end, and what they held. A rerun without it reads all again."""

import functools
import uuid
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.run.committed import Done, lasting
from pipeline.run.held import TaskIds
from pipeline.run.keys import Keys
from pipeline.run.layout import CONTAINERS
from pipeline.sources.read_through import ENDED_SCHEMA, ReadThrough, ended
from pipeline.sources.task import ReadTask
from pipeline.storage.at_once import on_store
from pipeline.storage.atomic import Check, write_whole


def note_ended(fs: FileSystem, run: str, tasks: Sequence[ReadTask], reports: Sequence[TaskIds], check: Check) -> None:
    """Note which of `tasks` came to their end, as their readers reported it."""
    rows = ended(tasks, reports)
    if len(rows):
        save = functools.partial(pq.write_table, rows, compression="none", write_page_checksum=True)
        write_whole(fs, f"{run}/{CONTAINERS}/part-{uuid.uuid4().hex}.parquet", save, check)


def notes(fs: FileSystem, run: str) -> list[str]:
    """The paths of all that was noted."""
    found = fs.get_file_info(FileSelector(f"{run}/{CONTAINERS}", allow_not_found=True))
    return [info.path for info in found if info.type == FileType.File and info.base_name.endswith(".parquet")]


def read_through(keys: Keys, done: Done) -> ReadThrough:
    """What earlier attempts read through. What a damaged file noted is read again."""
    tables = on_store(keys.fs, functools.partial(_read, keys.fs), notes(keys.fs, keys.run))
    tasks = pa.concat_tables([ENDED_SCHEMA.empty_table(), *tables])
    return ReadThrough(tasks, lasting(keys, done.ids))


def _read(fs: FileSystem, path: str) -> pa.Table:
    try:
        with fs.open_input_file(path) as file:
            return pq.read_table(file, schema=ENDED_SCHEMA, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return ENDED_SCHEMA.empty_table()
