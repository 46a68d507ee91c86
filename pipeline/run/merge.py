"""Several complete runs, of shards or of other corpora -> one run that holds what they hold: `voxmill merge`.

Everything is checked before anything is written: that the runs make the same codes, that they are whole, that no
recording is in two of them. Then waves come before parts, and `_SUCCESS` last: a merge that was killed leaves no run
that looks complete, and the same command does it again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from pipeline.errors import InputError, OutputError
from pipeline.run.containers import notes
from pipeline.run.layout import CODES, CONTAINERS, FAILURES, LOCK_FILE, PIECES, SKIPPED, SUCCESS_FILE, WAVES, part_infos
from pipeline.run.lock import locked
from pipeline.run.merged_record import merged_record, refuse_missing_shards, refuse_unlike
from pipeline.run.parts import join, part_schema, read_content, read_part
from pipeline.run.reader import Run, open_run
from pipeline.run.resume import MERGING, mark
from pipeline.run.run_json import read_run_file, save
from pipeline.run.whole import refuse_other_parts
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.storage.at_once import at_once
from pipeline.storage.atomic import UNFINISHED
from pipeline.storage.copy import copy_files
from pipeline.storage.filesystem import locate
from pipeline.storage.location import redact
from pipeline.storage.text import id_hashes
from pipeline.storage.translate import errors_as

READ_AT_ONCE = 8
"""Parts: hashing takes most of the time, and does not hold Python's lock."""
MOST_BYTES = 512 << 20
"""Of parts that are in memory together."""
FOLDERS = ((CODES, CODES_SCHEMA), (FAILURES, FAILURES_SCHEMA), (SKIPPED, FAILURES_SCHEMA))


@dataclass(frozen=True)
class Source:
    """A complete run that goes into another."""

    name: str  # its location without credentials
    fs: FileSystem
    path: str
    record: dict[str, Any]  # run.json
    parts: dict[str, list[FileInfo]]  # by folder


def merge(runs: Iterable[str | Path | Run], out: str | Path) -> Run:
    """Make the run `out` of the complete `runs`; it can be checked, read and continued like any other.

    Each run is a folder, a URI or what `open_run` gives. On one disk the files are hard links, within one object store
    its own copies. Raises InputError or OutputError for a run that is not complete, is damaged or makes other codes,
    for shards that are missing, and for an id in two runs.
    """
    if isinstance(runs, str | Path | Run):
        raise InputError(f"merge takes a list of runs; {runs!r} is one.")
    fs, run = locate(str(out))
    sources = list(at_once(_source, [one.location if isinstance(one, Run) else str(one) for one in runs]))
    _refuse_nesting(sources, fs, run)
    records = [(one.name, one.record) for one in sources]
    refuse_unlike(records)
    refuse_missing_shards(records)
    _refuse_other_columns(sources)
    _refuse_doubles(sources)
    with locked(fs, run) as lock:
        _make_room(fs, run, [one.name for one in sources])
        record = merged_record(records)
        save(fs, run, {**record, "state": "running", "parts": {}, MERGING: [one.name for one in sources]})
        for one in sources:
            copy_files(one.fs, fs, list(_waves(one, fs, run)))
        for one in sources:
            paths = [info.path for found in one.parts.values() for info in found]
            paths += notes(one.fs, one.path)
            copy_files(one.fs, fs, [(path, f"{run}{path.removeprefix(one.path)}") for path in paths])
        for one, now in zip(sources, at_once(lambda one: read_run_file(one.fs, one.path), sources), strict=True):
            if now != one.record:
                raise OutputError(f"{one.name} was written to while it was merged. Merge again once it is complete.")
        lock.check()
        save(fs, run, record)
        mark(fs, run, complete=True)
    return open_run(out)


def _source(location: str) -> Source:
    fs, path = locate(location)
    record, name = read_run_file(fs, path), redact(location)
    if record is None:
        raise InputError(f"{name} holds no run.json: only complete runs can be merged.")
    if record["state"] != "complete" or fs.get_file_info(f"{path}/{SUCCESS_FILE}").type != FileType.File:
        raise InputError(f"{name} is not complete ({record['state']}): finish it with the command that made it.")
    found = {folder: part_infos(fs, path, folder) for folder, _ in FOLDERS}
    refuse_other_parts([info.path for info in found[CODES]], record["parts"], location)
    return Source(name, fs, path, record, found)


def _refuse_nesting(sources: Sequence[Source], fs: FileSystem, run: str) -> None:
    if len(sources) < 2:
        raise InputError("One run is nothing to merge. Give at least two.")
    for one in sources:
        if one.fs == fs and f"{run}/".startswith(f"{one.path}/"):
            raise InputError(f"{run} is, or lies in, the run {one.name}. Give --out another folder.")


def _refuse_other_columns(sources: Sequence[Source]) -> None:
    """Raise OutputError where carried columns of one name have types that do not go together."""
    first = [(one.fs, one.parts[CODES][0].path) for one in sources if one.parts[CODES]]
    schemas = at_once(lambda part: part_schema(*part, CODES_SCHEMA), first)
    if tables := [schema.empty_table() for schema in schemas]:
        join(tables, [path for _, path in first])


def _refuse_doubles(sources: Sequence[Source]) -> None:
    """Raise InputError for a recording that two runs have, OutputError for a part that is not as run.json says."""
    parts = [
        (number, folder, info)
        for number, one in enumerate(sources)
        for folder, _ in FOLDERS
        for info in one.parts[folder]
    ]
    read = at_once(
        lambda part: _sound_hashes(sources[part[0]], *part[1:]),
        parts,
        READ_AT_ONCE,
        weigh=lambda part: part[2].size or 0,
        most=MOST_BYTES,
    )
    hashes = [np.empty(0, "S16")] * len(sources)
    for number, found in groupby(zip(parts, read, strict=True), key=lambda found: found[0][0]):
        hashes[number] = np.unique(np.concatenate([some for _, some in found]))
    every = np.sort(np.concatenate(hashes))
    twice = every[1:][every[1:] == every[:-1]]
    if len(twice):
        owners = [one for one, held in zip(sources, hashes, strict=True) if np.isin(twice[0], held)]
        id_ = next(id_ for id_ in _ids(owners[0]) if id_hashes(pa.array([id_]))[0] == twice[0])
        raise InputError(
            f"{len(twice):,} recordings are in several runs, first {id_!r}: in {owners[0].name} and {owners[1].name}."
            " Runs of shards (--shard), or of corpora without common ids, can be merged."
        )


def _sound_hashes(one: Source, folder: str, info: FileInfo) -> np.ndarray:
    """`id_hashes` of the rows of a part, once its checksum is right; the part is read once."""
    with errors_as(info.path, OutputError), one.fs.open_input_file(info.path) as file:
        content = file.read_buffer()
    if folder == CODES and hashlib.sha256(content).hexdigest() != one.record["parts"][info.base_name]:
        raise OutputError(
            f"{one.name}: {CODES}/{info.base_name} has another sha256 than in run.json. See `voxmill check`."
        )
    return id_hashes(read_content(content, info.path, dict(FOLDERS)[folder], ["id"])["id"])


def _ids(one: Source) -> Iterator[str]:
    for folder, schema in FOLDERS:
        for info in one.parts[folder]:
            yield from read_part(one.fs, info.path, schema, ["id"])["id"].to_pylist()


def _make_room(fs: FileSystem, run: str, names: list[str]) -> None:
    """Delete the parts of the same merge that was killed. Raises OutputError where `run` holds anything else."""
    found = fs.get_file_info(FileSelector(run, allow_not_found=True))
    if all(info.base_name.startswith(LOCK_FILE) for info in found):
        return
    if (read_run_file(fs, run) or {}).get(MERGING) != names:
        raise OutputError(f"{run} is not empty, and no merge of these runs that was killed. Give --out a new folder.")
    for folder in (CONTAINERS, *dict(FOLDERS)):
        if fs.get_file_info(f"{run}/{folder}").type == FileType.Directory:
            fs.delete_dir(f"{run}/{folder}")


def _waves(one: Source, fs: FileSystem, run: str) -> Iterator[tuple[str, str]]:
    """The reconstructions of a run; those that a merge that was killed has copied are left out."""
    here, there = f"{one.path}/{WAVES}", f"{run}/{WAVES}"
    copied = {info.path: info.size for info in _files(fs, there)}
    for info in _files(one.fs, here):
        target = there + info.path.removeprefix(here)
        waits = f"/{PIECES}/" in info.path or UNFINISHED.fullmatch(info.base_name)
        if not waits and copied.get(target) != info.size:
            yield info.path, target


def _files(fs: FileSystem, folder: str) -> Iterator[Any]:
    found = fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    return (info for info in found if info.type == FileType.File)
