"""RUN/.containers/: which containers were read to their end, and what they held. A rerun without it reads all again."""

from collections.abc import Sequence

import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.committed import Done, lasting
from pipeline.run.held import TaskIds
from pipeline.run.keys import Keys
from pipeline.run.layout import CONTAINERS
from pipeline.run.note_file import note_infos, read_note, write_note
from pipeline.sources.read_through import ENDED_SCHEMA, ReadThrough, ended
from pipeline.sources.task import ReadTask
from pipeline.storage.at_once import on_store
from pipeline.storage.atomic import Check


def note_ended(fs: FileSystem, run: str, tasks: Sequence[ReadTask], reports: Sequence[TaskIds], check: Check) -> None:
    """Note which of `tasks` came to their end, as their readers reported it."""
    write_note(fs, f"{run}/{CONTAINERS}", ended(tasks, reports), check)


def notes(fs: FileSystem, run: str) -> list[str]:
    """The paths of all that was noted."""
    return [info.path for info in note_infos(fs, f"{run}/{CONTAINERS}")]


def read_through(keys: Keys, done: Done) -> ReadThrough:
    """What earlier attempts read through. What a damaged file noted is read again."""
    tables = on_store(keys.fs, lambda path: read_note(keys.fs, path, ENDED_SCHEMA), notes(keys.fs, keys.run))
    tasks = pa.concat_tables([ENDED_SCHEMA.empty_table(), *tables])
    return ReadThrough(tasks, lasting(keys, done.ids))
