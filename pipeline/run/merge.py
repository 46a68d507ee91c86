"""Several complete runs, of shards or of other corpora -> one run that holds what they hold: `voxmill merge`.

Everything is checked before anything is written: that the runs make the same codes, that they are whole, that no
recording is in two of them. Then waves come before parts, and `_SUCCESS` last: a merge that was killed leaves no run
that looks complete, and the same command does it again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from pipeline.errors import InputError, OutputError, plural
from pipeline.run.containers import notes
from pipeline.run.layout import CODES, CONTAINERS, LOCK_FILE, PARTS, PIECES, SUCCESS_FILE, WAVES, is_marked, part_infos
from pipeline.run.lock import locked
from pipeline.run.merged_record import merged_record, refuse_missing_shards, refuse_unlike
from pipeline.run.parts import join_schemas, read_content, read_part
from pipeline.run.reader import Run, location_of, open_run
from pipeline.run.resume import MERGING, mark
from pipeline.run.run_json import read_run_file, save
from pipeline.run.whole import refuse_other_parts
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


@dataclass(frozen=True)
class Source:
    """A complete run that goes into another."""

    name: str  # its location without credentials
    fs: FileSystem
    path: str
    record: dict[str, Any]  # run.json
    parts: dict[str, list[FileInfo]]  # by folder
    has_waves: bool


def merge(runs: Iterable[str | Path | Run], out: str | Path) -> Run:
    """Make the run `out` of the complete `runs`; it can be checked, read and continued like any other.

    Each run is a folder, a URI or what `open_run` gives. On one disk the files are hard links, within one object store
    its own copies. Raises InputError or OutputError for a run that is not complete, is damaged or makes other codes,
    for shards that are missing, and for an id in two runs.
    """
    if isinstance(runs, str | Path | Run):
        raise InputError(f"merge takes a list of runs; {runs!r} is one.")
    fs, run = locate(str(out))
    sources = list(at_once(_source, [*map(location_of, runs)]))
    _refuse_nesting(sources, fs, run)
    records = [(one.name, one.record) for one in sources]
    with_waves = [(one.name, one.record) for one in sources if one.has_waves]
    refuse_unlike(records, with_waves)
    refuse_missing_shards(records)
    contents = _contents(sources)
    coded = [one for one in contents if one.folder == CODES]
    join_schemas((one.schema for one in coded), (one.path for one in coded))
    _refuse_doubles(sources, contents)
    del contents
    with locked(fs, run) as lock:
        _make_room(fs, run, [one.name for one in sources])
        record = merged_record(records, with_waves)
        save(fs, run, {**record, "state": "running", "parts": {}, MERGING: [one.name for one in sources]})
        copied = {info.path: info.size for info in _files(fs, f"{run}/{WAVES}")}  # by the same merge that was killed
        for one in sources:
            copy_files(one.fs, fs, list(_waves(one, f"{run}/{WAVES}", copied)))
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
    if record["state"] == "limited":
        raise InputError(
            f"{name} holds only the first {plural(record['limit'], 'recording')} of its inputs: run its command again"
            " without --limit."
        )
    if record["state"] != "complete" or not is_marked(fs, path):
        lacks = f"is not complete ({record['state']})" if record["state"] != "complete" else f"has no {SUCCESS_FILE}"
        raise InputError(f"{name} {lacks}: finish it with the command that made it.")
    found = {folder: part_infos(fs, path, folder) for folder in PARTS}
    refuse_other_parts([info.path for info in found[CODES]], record["parts"], location)
    waves = fs.get_file_info(f"{path}/{WAVES}").type == FileType.Directory
    return Source(name, fs, path, record, found, waves)


def _refuse_nesting(sources: Sequence[Source], fs: FileSystem, run: str) -> None:
    if len(sources) < 2:
        raise InputError("One run is nothing to merge. Give at least two.")
    for one in sources:
        if one.fs == fs and f"{run}/".startswith(f"{one.path}/"):
            raise InputError(f"{run} is, or lies in, the run {one.name}. Give --out another folder.")


@dataclass(frozen=True)
class Content:
    """What a part holds, as far as runs are compared by it."""

    source: int  # its number
    folder: str
    path: str
    schema: pa.Schema
    hashes: np.ndarray  # `id_hashes` of its rows


def _contents(sources: Sequence[Source]) -> list[Content]:
    """Of every part, which is read once. Raises OutputError for a part that is not as run.json says."""
    parts = [
        (number, folder, info) for number, one in enumerate(sources) for folder in PARTS for info in one.parts[folder]
    ]
    return list(
        at_once(
            lambda part: _content(sources[part[0]], *part),
            parts,
            READ_AT_ONCE,
            weigh=lambda part: part[2].size or 0,
            most=MOST_BYTES,
        )
    )


def _content(one: Source, number: int, folder: str, info: FileInfo) -> Content:
    with errors_as(info.path, OutputError), one.fs.open_input_file(info.path) as file:
        content = file.read_buffer()
    if folder == CODES and hashlib.sha256(content).hexdigest() != one.record["parts"][info.base_name]:
        raise OutputError(
            f"{one.name}: {CODES}/{info.base_name} has another sha256 than in run.json. See `voxmill check`."
        )
    schema, rows = read_content(content, info.path, PARTS[folder], ["id"])
    return Content(number, folder, info.path, schema, id_hashes(rows["id"]))


def _refuse_doubles(sources: Sequence[Source], contents: Sequence[Content]) -> None:
    """Raise InputError for a recording that two runs have."""
    hashes = [np.empty(0, "S16")] * len(sources)
    for number, found in groupby(contents, key=lambda one: one.source):
        hashes[number] = np.unique(np.concatenate([one.hashes for one in found]))
    every = np.sort(np.concatenate(hashes))
    twice = every[1:][every[1:] == every[:-1]]
    if len(twice):
        owners = [one for one, held in zip(sources, hashes, strict=True) if np.isin(twice[0], held)]
        id_ = next(id_ for id_ in _ids(owners[0]) if id_hashes(pa.array([id_]))[0] == twice[0])
        raise InputError(
            f"Several runs hold {plural(len(twice), 'common id')}, first {id_!r}: in {owners[0].name} and "
            f"{owners[1].name}. Runs of shards (--shard), or of corpora without common ids, can be merged."
        )


def _ids(one: Source) -> Iterator[str]:
    for folder, schema in PARTS.items():
        for info in one.parts[folder]:
            yield from read_part(one.fs, info.path, schema, ["id"])["id"].to_pylist()


def _make_room(fs: FileSystem, run: str, names: list[str]) -> None:
    """Delete the parts of the same merge that was killed. Raises OutputError where `run` holds anything else."""
    found = fs.get_file_info(FileSelector(run, allow_not_found=True))
    if all(info.base_name.startswith(LOCK_FILE) for info in found):
        return
    if (read_run_file(fs, run) or {}).get(MERGING) != names:
        raise OutputError(f"{run} is not empty, and no merge of these runs that was killed. Give --out a new folder.")
    for folder in (CONTAINERS, *PARTS):
        if fs.get_file_info(f"{run}/{folder}").type == FileType.Directory:
            fs.delete_dir(f"{run}/{folder}")


def _waves(one: Source, there: str, copied: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The reconstructions of a run that are to be copied; those whose size is that of what is `copied` are left out."""
    here = f"{one.path}/{WAVES}"
    for info in _files(one.fs, here):
        target = there + info.path.removeprefix(here)
        waits = f"/{PIECES}/" in info.path or UNFINISHED.fullmatch(info.base_name)
        if not waits and copied.get(target) != info.size:
            yield info.path, target


def _files(fs: FileSystem, folder: str) -> Iterator[Any]:
    found = fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    return (info for info in found if info.type == FileType.File)
