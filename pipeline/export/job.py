"""An export that has been checked -> the shards that DIR lacks, in order, and what is made from all of them."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSystem

from pipeline.export.folder import delete
from pipeline.export.records import Columns, with_text
from pipeline.export.reference import FILE as REFERENCE_FILE
from pipeline.export.reference import write_reference
from pipeline.export.shard import Create, Finished, Format, Shard
from pipeline.run.layout import SUCCESS_FILE, is_marked
from pipeline.run.whole import Whole, recordings
from pipeline.storage.filesystem import infos

Tell = Callable[[int, int], object] | None
"""Called with (shards written or found, shards), after each."""


@dataclass(frozen=True)
class Job:
    """An export that has been checked."""

    whole: Whole
    form: Format
    columns: Columns
    size: int  # recordings a shard
    fs: FileSystem
    path: str  # DIR
    create: Create

    @cached_property
    def counts(self) -> list[int]:
        """Recordings of each shard."""
        return [min(self.size, len(self.whole) - begin) for begin in range(0, len(self.whole), self.size)]

    @cached_property
    def files(self) -> list[list[str]]:
        """Of each shard, its files below DIR."""
        return [self.form.files(number, len(self.counts)) for number in range(len(self.counts))]

    def missing(self) -> set[int]:
        """The shards of which a file is not there."""
        shard_of = {name: number for number, names in enumerate(self.files) for name in names}
        there = self.stat(list(shard_of))
        return {number for number, info in zip(shard_of.values(), there, strict=True) if not info.is_file}

    def stat(self, names: list[str]) -> list[FileInfo]:
        """Of files below DIR."""
        return infos(self.fs, [f"{self.path}/{name}" for name in names])


def write_missing(job: Job, reference: str | None, tell: Tell) -> tuple[int, int]:
    """Write what DIR lacks; how many shards that were, and the recordings that were left out of them."""
    written = without_text = 0
    if not _is_whole(job):
        if reference is not None:
            write_reference(reference, job.create)
        place = None if reference is None else f"{job.path}/{REFERENCE_FILE}"
        written, without_text = _write_shards(job, place, tell)
        _finish(job)
    if job.form.joined:
        delete(job.fs, [f"{job.path}/{name}" for names in job.files for name in names])
    return written, without_text


def _is_whole(job: Job) -> bool:
    """Whether DIR holds what a finished export leaves there."""
    if not is_marked(job.fs, job.path):
        return False
    result = [] if job.form.result is None else [job.form.result]
    return all(info.is_file for info in job.stat(result)) and (job.form.joined or not job.missing())


def _write_shards(job: Job, reference: str | None, tell: Tell) -> tuple[int, int]:
    missing = job.missing()
    without_text = 0

    def kept(tables: Iterator[tuple[int, pa.Table]]) -> Iterator[pa.Table]:
        nonlocal without_text
        for _, rows in tables:
            wanted = with_text(rows, job.columns) if job.form.needs_text else rows
            without_text += len(rows) - len(wanted)
            yield wanted

    stream = itertools.groupby(_numbered(job, min(missing, default=len(job.counts))), key=lambda found: found[0])
    for number, tables in stream:
        if number in missing:
            count, schema = job.counts[number], job.whole.schema
            job.form.write(Shard(job.files[number], count, schema, kept(tables), job.columns, reference, job.create))
        if tell:
            tell(number + 1, len(job.counts))
    return len(missing), without_text


def _numbered(job: Job, first: int) -> Iterator[tuple[int, pa.Table]]:
    """(number of its shard, rows) from shard `first` on; no table crosses from one shard to the next."""
    position = first * job.size
    for rows in recordings(job.whole, position):
        while len(rows):
            taken = rows.slice(0, job.size - position % job.size)
            yield position // job.size, taken
            position += len(taken)
            rows = rows.slice(len(taken))


def _finish(job: Job) -> None:
    if job.form.finish:
        last = [names[-1] for names in job.files]
        sizes = [int(info.size) for info in job.stat(last)]

        def read(name: str) -> BinaryIO:
            return cast(BinaryIO, job.fs.open_input_stream(f"{job.path}/{name}", compression=None))

        job.form.finish(Finished(last, sizes, job.counts, job.columns, read, job.create))
    job.create(SUCCESS_FILE, lambda file: None)
