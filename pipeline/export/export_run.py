"""`export_run`: a run -> shards of a trainer's format. Interrupted, it goes on behind the shards that are finished."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow.fs import FileSystem, FileType

from pipeline.errors import InputError
from pipeline.export.folder import delete, take
from pipeline.export.formats import FORMATS
from pipeline.export.records import Columns, check_columns, with_text
from pipeline.export.reference import FILE as REFERENCE_FILE
from pipeline.export.reference import write_reference
from pipeline.export.shard import Create, Finished, Format, Shard
from pipeline.run.layout import SUCCESS_FILE
from pipeline.run.lock import locked
from pipeline.run.reader import Run, open_run
from pipeline.run.whole import Whole, recordings
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate
from pipeline.storage.location import is_local, redact

SHARD_RECORDINGS = 10_000

Tell = Callable[[int, int], object] | None
"""Called with (shards written or found, shards), after each."""


@dataclass(frozen=True)
class Exported:
    """What an export left in DIR."""

    out: str
    recordings: int  # of the run
    shards: int
    written: int  # shards that this call wrote; the others were there
    without_text: int  # recordings of those shards that were left out because they have no text


@dataclass(frozen=True)
class _Job:
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
    def names(self) -> list[str]:
        """Of each shard, the path of the file that comes last."""
        return [f"{self.path}/{self.form.last(number, len(self.counts))}" for number in range(len(self.counts))]


def export_run(
    run: str | Path | Run,
    to: str,
    out: str | Path,
    *,
    text: str | None = None,
    speaker: str | None = None,
    language: str | None = None,
    instruct: str | None = None,
    ref_audio: str | Path | None = None,
    shard_recordings: int = SHARD_RECORDINGS,
    tell: Tell = None,
) -> Exported:
    """Write the recordings of `run`, their chunks joined, to the folder or URI `out` in format `to` (see FORMATS).

    `text`, `speaker`, `language`, `instruct` name carried columns; "a.b" is a field of a struct or of JSON text.
    Recordings come in the order of the run's parts, `shard_recordings` a shard; a shard that is there is not written
    again. Raises InputError for options that do not fit, OutputError for a folder that holds something else.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    columns = Columns(text, speaker, language, instruct)
    reference = None if ref_audio is None else str(ref_audio)
    form = _check_options(to, reference, shard_recordings, str(out))
    _check_run(opened)
    whole = opened.whole()
    check_columns(columns, whole.schema, needs_text=form.needs_text)
    if not len(whole):
        raise InputError(f"{redact(opened.location)} has no recordings with codes to export.")
    fs, path = locate(str(out))
    with locked(fs, path) as lock:
        create = partial(_create, fs, path, lock.check)
        job = _Job(whole, form, columns, shard_recordings, fs, path, create)
        take(fs, path, _plan(job, to, reference), create)
        written, without_text = _write_missing(job, reference, tell)
    return Exported(redact(str(out)), len(whole), len(job.counts), written, without_text)


def _check_options(to: str, reference: str | None, shard_recordings: int, out: str) -> Format:
    if to not in FORMATS:
        raise InputError(f"--to {to}: there is no such format. Formats are {', '.join(FORMATS)}.")
    if shard_recordings < 1:
        raise InputError(f"{shard_recordings} recordings a shard: expected at least 1.")
    if reference is not None and not FORMATS[to].shares_reference:
        which = ", ".join(name for name, form in FORMATS.items() if form.shares_reference)
        raise InputError(f"--ref-audio: records of {to} have no reference audio, those of {which} have.")
    if reference is not None and not is_local(out):
        raise InputError(
            f"--ref-audio: its copy would lie in {redact(out)}, but trainers open it as a local file. "
            "Give --out a local folder."
        )
    return FORMATS[to]


def _check_run(run: Run) -> None:
    """Refuse a run that is being made: its parts are not settled."""
    state = run.summary().get("state", "complete")
    if state != "complete":
        raise InputError(
            f"{redact(run.location)} is not complete ({state}). Finish it with the command that began it, then export."
        )


def _create(
    fs: FileSystem, folder: str, before: Callable[[], object], name: str, write: Callable[[BinaryIO], object]
) -> None:
    write_whole(fs, f"{folder}/{name}", write, before)


def _plan(job: _Job, to: str, reference: str | None) -> dict[str, Any]:
    """What makes an export another one."""
    names = [part.rpartition("/")[2] for part in job.whole.parts]
    return {
        "format": to,
        "reference": reference and redact(reference),
        "columns": asdict(job.columns),
        "shard_recordings": job.size,
        "recordings": len(job.whole),
        "parts": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }


def _write_missing(job: _Job, reference: str | None, tell: Tell) -> tuple[int, int]:
    """Write what DIR lacks; how many shards that were, and the recordings that were left out of them."""
    written = without_text = 0
    if job.fs.get_file_info(f"{job.path}/{SUCCESS_FILE}").type != FileType.File:
        if reference is not None:
            write_reference(reference, job.create)
        place = None if reference is None else f"{job.path}/{REFERENCE_FILE}"
        written, without_text = _write_shards(job, place, tell)
        _finish(job)
    if job.form.joined:
        delete(job.fs, job.names)
    return written, without_text


def _write_shards(job: _Job, reference: str | None, tell: Tell) -> tuple[int, int]:
    infos = job.fs.get_file_info(job.names)
    missing = {number for number, info in enumerate(infos) if info.type != FileType.File}
    without_text = 0

    def kept(tables: Iterator[tuple[int, pa.Table]]) -> Iterator[pa.Table]:
        nonlocal without_text
        for _, rows in tables:
            wanted = with_text(rows, job.columns) if job.form.needs_text else rows
            without_text += len(rows) - len(wanted)
            yield wanted

    stream = itertools.groupby(_numbered(job, min(missing, default=len(infos))), key=lambda found: found[0])
    for number, tables in stream:
        if number in missing:
            count, schema = job.counts[number], job.whole.schema
            job.form.write(
                Shard(number, len(job.counts), count, schema, kept(tables), job.columns, reference, job.create)
            )
        if tell:
            tell(number + 1, len(job.counts))
    return len(missing), without_text


def _numbered(job: _Job, first: int) -> Iterator[tuple[int, pa.Table]]:
    """(number of its shard, rows) from shard `first` on; no table crosses from one shard to the next."""
    position = first * job.size
    for rows in recordings(job.whole, position):
        while len(rows):
            taken = rows.slice(0, job.size - position % job.size)
            yield position // job.size, taken
            position += len(taken)
            rows = rows.slice(len(taken))


def _finish(job: _Job) -> None:
    if job.form.finish:
        names = [job.form.last(number, len(job.counts)) for number in range(len(job.counts))]
        sizes = [int(info.size) for info in job.fs.get_file_info(job.names)]

        def read(name: str) -> BinaryIO:
            return cast(BinaryIO, job.fs.open_input_stream(f"{job.path}/{name}", compression=None))

        job.form.finish(Finished(names, sizes, job.counts, job.columns, read, job.create))
    job.create(SUCCESS_FILE, lambda file: None)
