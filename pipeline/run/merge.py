"""Several complete runs, of shards or of other corpora -> one run that holds what they hold: `voxmill merge`.

Everything is checked before anything is written: that the runs make the same codes, that they are whole, that no
recording is in two of them. Then waves come before parts, and `_SUCCESS` last: a merge that was killed leaves no run
that looks complete, and the same command does it again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.errors import InputError, OutputError
from pipeline.run.layout import CODES, FAILURES, LOCK_FILE, PIECES, SKIPPED, SUCCESS_FILE, WAVES, parts
from pipeline.run.lock import locked
from pipeline.run.merged_record import merged_record, refuse_missing_shards, refuse_unlike
from pipeline.run.parts import join, part_schema, read_part
from pipeline.run.reader import Run, open_run
from pipeline.run.resume import MERGING, mark
from pipeline.run.run_json import read_run_file, save
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.storage.atomic import UNFINISHED
from pipeline.storage.copy import copy_files
from pipeline.storage.filesystem import BUFFER_BYTES, locate
from pipeline.storage.location import redact
from pipeline.storage.text import id_hashes
from pipeline.storage.translate import errors_as

READ_AT_ONCE = 8
"""Parts: hashing takes most of the time, and does not hold Python's lock."""
FOLDERS = ((CODES, CODES_SCHEMA), (FAILURES, FAILURES_SCHEMA), (SKIPPED, FAILURES_SCHEMA))


@dataclass(frozen=True)
class Source:
    """A complete run that goes into another."""

    name: str  # its location without credentials
    fs: FileSystem
    path: str
    record: dict[str, Any]  # run.json
    parts: dict[str, list[str]]  # paths, by folder


def merge(runs: Sequence[str | Path], out: str | Path) -> Run:
    """Make the run `out` of the complete `runs`; it can be checked, read and continued like any other.

    On one disk the files are hard links, within one object store its own copies. Raises InputError or OutputError for a
    run that is not complete, is damaged or makes other codes, for shards that are missing, and for an id in two runs.
    """
    fs, run = locate(str(out))
    sources = [_source(str(location)) for location in runs]
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
            paths = [path for found in one.parts.values() for path in found]
            copy_files(one.fs, fs, [(path, f"{run}{path.removeprefix(one.path)}") for path in paths])
        for one in sources:
            if read_run_file(one.fs, one.path) != one.record:
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
    found = {folder: parts(fs, path, folder) for folder, _ in FOLDERS}
    names = {part.rpartition("/")[2] for part in found[CODES]}
    if names != record["parts"].keys():
        odd = sorted(names ^ record["parts"].keys())
        raise OutputError(f"{name}: {CODES}/{odd[0]} is not where run.json says. See `voxmill check {name}`.")
    return Source(name, fs, path, record, found)


def _refuse_nesting(sources: Sequence[Source], fs: FileSystem, run: str) -> None:
    if len(sources) < 2:
        raise InputError("One run is nothing to merge. Give at least two.")
    for one in sources:
        if one.fs == fs and f"{run}/".startswith(f"{one.path}/"):
            raise InputError(f"{run} is, or lies in, the run {one.name}. Give --out another folder.")


def _refuse_other_columns(sources: Sequence[Source]) -> None:
    """Raise OutputError where carried columns of one name have types that do not go together."""
    first = [(one.fs, one.parts[CODES][0]) for one in sources if one.parts[CODES]]
    tables = [part_schema(fs, path, CODES_SCHEMA).empty_table() for fs, path in first]
    if tables:
        join(tables, [path for _, path in first])


def _refuse_doubles(sources: Sequence[Source]) -> None:
    """Raise InputError for a recording that two runs have, OutputError for a part that is not as run.json says."""
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        hashes = [np.unique(np.concatenate([np.empty(0, "S16"), *pool.map(*_parts_of(one))])) for one in sources]
    every = np.sort(np.concatenate(hashes))
    twice = every[1:][every[1:] == every[:-1]]
    if len(twice):
        owners = [one for one, held in zip(sources, hashes, strict=True) if np.isin(twice[0], held)]
        id_ = next(id_ for id_ in _ids(owners[0]) if id_hashes(pa.array([id_]))[0] == twice[0])
        raise InputError(
            f"{len(twice):,} recordings are in several runs, first {id_!r}: in {owners[0].name} and {owners[1].name}."
            " Runs of shards (--shard), or of corpora without common ids, can be merged."
        )


def _parts_of(one: Source) -> tuple[Any, list[tuple[str, str]]]:
    return partial(_sound_hashes, one), [(folder, path) for folder, _ in FOLDERS for path in one.parts[folder]]


def _sound_hashes(one: Source, part: tuple[str, str]) -> np.ndarray:
    """`id_hashes` of the rows of a part, once its checksum is right."""
    folder, path = part
    name = path.rpartition("/")[2]
    if folder == CODES and _sha256(one.fs, path) != one.record["parts"][name]:
        raise OutputError(f"{one.name}: {CODES}/{name} has another sha256 than in run.json. See `voxmill check`.")
    return id_hashes(read_part(one.fs, path, dict(FOLDERS)[folder], ["id"])["id"])


def _sha256(fs: FileSystem, path: str) -> str:
    digest = hashlib.sha256()
    with errors_as(path, OutputError), fs.open_input_stream(path) as file:
        while block := file.read(BUFFER_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _ids(one: Source) -> Iterator[str]:
    for folder, schema in FOLDERS:
        for path in one.parts[folder]:
            yield from read_part(one.fs, path, schema, ["id"])["id"].to_pylist()


def _make_room(fs: FileSystem, run: str, names: list[str]) -> None:
    """Delete the parts of the same merge that was killed. Raises OutputError where `run` holds anything else."""
    found = fs.get_file_info(FileSelector(run, allow_not_found=True))
    if all(info.base_name.startswith(LOCK_FILE) for info in found):
        return
    if (read_run_file(fs, run) or {}).get(MERGING) != names:
        raise OutputError(f"{run} is not empty, and no merge of these runs that was killed. Give --out a new folder.")
    for folder, _ in FOLDERS:
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
