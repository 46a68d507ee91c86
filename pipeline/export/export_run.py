"""`export_run`: a run -> shards of a trainer's format. Interrupted, it goes on behind the shards that are finished."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pyarrow.fs import FileSystem

from pipeline.errors import InputError
from pipeline.export.folder import take
from pipeline.export.formats import FORMATS
from pipeline.export.job import Job, Tell, write_missing
from pipeline.export.records import Columns, check_columns, refuse_empty
from pipeline.export.reference import check_sources
from pipeline.export.shard import Format
from pipeline.run.lock import locked
from pipeline.run.reader import Run, open_run
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import infos, locate
from pipeline.storage.location import is_local, local_path, redact
from pipeline.storage.stamp import local_stamp

SHARD_RECORDINGS = 10_000


@dataclass(frozen=True)
class Exported:
    """What an export left in DIR."""

    out: str
    recordings: int  # of the run
    shards: int
    written: int  # shards that this call wrote; the others were there
    without_text: int  # recordings of those shards that were left out because they have no text
    gone: list[str]  # files that are references, and are not there now


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
    again. Raises InputError for options that do not fit, and where recordings that are no whole local files would be
    their own references; OutputError for a folder that holds something else.
    """
    opened = open_run(run)
    columns = Columns(text, speaker, language, instruct)
    reference = None if ref_audio is None else str(ref_audio)
    form = _check_options(to, reference, shard_recordings, str(out))
    _refuse_unfinished(opened)
    whole = opened.whole()
    if not len(whole):
        raise InputError(f"{redact(opened.location)} has no recordings with codes to export.")
    check_columns(columns, whole.schema, needs_text=form.needs_text)
    refuse_empty(columns, whole, needs_text=form.needs_text)
    gone: list[str] = []
    if form.shares_reference and reference is None:
        gone = check_sources(whole, opened.summary().get("settings", {}).get("input", {}).get("track"))
    fs, path = locate(str(out))
    with locked(fs, path) as lock:
        create = partial(_create, fs, path, lock.check)
        job = Job(whole, form, columns, shard_recordings, fs, path, create)
        take(fs, path, _plan(job, to, reference, bare=not opened.summary()), create)
        written, without_text = write_missing(job, reference, tell)
    return Exported(redact(str(out)), len(whole), len(job.counts), written, without_text, gone)


def _check_options(to: str, reference: str | None, shard_recordings: int, out: str) -> Format:
    if to not in FORMATS:
        raise InputError(f"There is no format {to!r}; there are {', '.join(FORMATS)}.")
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


def _refuse_unfinished(run: Run) -> None:
    """Refuse a run that is being made, whose parts are not settled."""
    if (state := run.summary().get("state", "complete")) != "complete":
        without = " without --limit" if state == "limited" else ""
        raise InputError(
            f"{redact(run.location)} is not complete ({state}). Finish it with the command that began it{without}, "
            "then export."
        )


def _create(
    fs: FileSystem, folder: str, check: Callable[[], object], name: str, write: Callable[[BinaryIO], object]
) -> None:
    write_whole(fs, f"{folder}/{name}", write, check)


def _plan(job: Job, to: str, reference: str | None, bare: bool) -> dict[str, Any]:
    """What makes an export another one."""
    names = [part.rpartition("/")[2] for part in job.whole.parts]
    if bare:  # the names of a run's parts are hashes of what is in them
        names = [f"{info.base_name} {info.size} {info.mtime_ns}" for info in infos(job.whole.fs, job.whole.parts)]
    stamp = local_stamp(local_path(reference)) if reference is not None and is_local(reference) else ()
    return {
        "format": to,
        "reference": reference and [redact(reference), *stamp],
        "columns": asdict(job.columns),
        "shard_recordings": job.size,
        "recordings": len(job.whole),
        "parts": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }
