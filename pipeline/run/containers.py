"""RUN/.containers/: which containers were read to their end, and what they held. A rerun without it reads all again."""

import functools
import time
import uuid
from collections.abc import Callable, Sequence

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

NOTE_EVERY_S = 60.0
"""An attempt that is killed has read at most as long for nothing."""


class Ends:
    """Notes which of an attempt's `tasks` came to their end, while it runs."""

    def __init__(self, fs: FileSystem, run: str, tasks: Sequence[ReadTask], check: Check) -> None:
        self.fs, self.run, self.tasks, self.check = fs, run, tasks, check
        self.reports: list[TaskIds] = []
        self.last_s = time.monotonic()

    def note(self, since: Callable[[int], list[TaskIds]], now: bool = False) -> None:
        """Where it is time, or `now`: get what `since` (of a `run.held.Held`) has that is new, and write it."""
        if time.monotonic() - self.last_s < NOTE_EVERY_S and not now:
            return
        new = since(len(self.reports))
        self.reports += new
        rows = ended(self.tasks, new)
        if len(rows):
            name = f"part-{uuid.uuid4().hex}.parquet"
            save = functools.partial(pq.write_table, rows, compression="none", write_page_checksum=True)
            write_whole(self.fs, f"{self.run}/{CONTAINERS}/{name}", save, self.check)
        self.last_s = time.monotonic()


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
