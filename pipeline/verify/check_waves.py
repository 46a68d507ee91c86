"""The waves of a run against its codes: what is missing, damaged, twice or no one's. Shared by check and repair."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.audio.wave_file import wave_fault
from pipeline.errors import OutputError
from pipeline.run.layout import CODES, WAVES, shard_path, shards, wave_kind, wave_path
from pipeline.run.shard import Entry, member_header, read_index
from pipeline.run.shards import is_part
from pipeline.storage.at_once import on_store
from pipeline.storage.id_set import hashes_among
from pipeline.storage.opening import Window
from pipeline.storage.text import id_hashes
from pipeline.verify.survey import Evidence

WAVE_BATCH = 1000
"""Recordings whose ids are text at a time."""
MISSING = "is missing"
"""The fault of a recording whose path holds no file."""


class Fault(NamedTuple):
    """Something wrong with the waves of a run."""

    path: str  # of a file or of a shard
    id: str | None  # the recording; None: of the whole shard
    text: str
    deleted: bool  # whether `repair` deletes it


def wave_faults(evidence: Evidence) -> Iterator[Fault]:
    """What is wrong with the waves of the recordings that have all their codes."""
    kind = wave_kind((evidence.summary or {}).get("settings", {}))
    return _in_shards(evidence, kind.format) if kind.layout == "tar" else _in_files(evidence, kind.format)


def _in_files(evidence: Evidence, format: str) -> Iterator[Fault]:
    for ids, all_samples in _whole(evidence):
        paths = [wave_path(f"{evidence.run}/{WAVES}", id_, format) for id_ in ids]
        some = zip(paths, all_samples, strict=True)
        faults = on_store(evidence.fs, lambda one: _file_fault(evidence.fs, *one, format), some)
        for id_, path, text in zip(ids, paths, faults, strict=True):
            if text:
                yield Fault(path, id_, text, text != MISSING)


def _whole(evidence: Evidence) -> Iterator[tuple[list[str], list[int]]]:
    """Ids and samples of the recordings that have all their codes, WAVE_BATCH at a time."""
    rows = np.flatnonzero(evidence.recordings.whole)
    ids = evidence.coded.ids(rows)
    for first in range(0, len(rows), WAVE_BATCH):
        some = rows[first : first + WAVE_BATCH]
        yield [id_ for id_ in islice(ids, len(some)) if id_ is not None], evidence.recordings.samples[some].tolist()


def _file_fault(fs: FileSystem, path: str, samples: int, format: str) -> str:
    """Of a WAV on a store two requests: what opens it tells its size."""
    if isinstance(fs, LocalFileSystem) and os.path.isdir(path):
        return MISSING
    try:
        with fs.open_input_file(path) as file:
            return wave_fault(file, file.size(), samples, format)
    except (FileNotFoundError, NotADirectoryError):
        return MISSING


def _in_shards(evidence: Evidence, format: str) -> Iterator[Fault]:
    """Each recording must be in one shard: that of its part, or one that belongs to no part."""
    rows = np.flatnonzero(evidence.recordings.whole)
    hashes, samples = evidence.coded.keys[rows], evidence.recordings.samples[rows]
    order = np.argsort(hashes)
    known, seen, faulty = hashes[order], np.zeros(len(order), bool), np.zeros(len(order), bool)
    homes = _homes(evidence)
    for path in shards(evidence.fs, f"{evidence.run}/{WAVES}"):
        if is_part(path) and path not in homes:
            yield Fault(path, None, f"belongs to no part in {CODES}", True)
            continue
        try:
            entries = read_index(evidence.fs, path)
        except OutputError as error:
            yield Fault(path, None, f"is damaged ({error})", True)
            continue
        here = np.sort(homes[path]) if is_part(path) else None
        members = id_hashes(pa.array([entry.id for entry in entries], pa.string()))
        there, at = hashes_among(members, known), np.searchsorted(known, members)
        with Window(evidence.fs.open_input_file(path), 0, 0) as window:
            for number, entry in enumerate(entries):
                one = int(order[at[number]]) if there[number] else None
                text = _member_fault(window, entry, None if one is None else int(samples[one]), format)
                away = here is not None and not hashes_among(members[number : number + 1], here)[0]
                if not text and (away or (one is not None and seen[one])):
                    text = "is the wave of a recording that has another, or whose codes are elsewhere"
                if text:
                    yield Fault(path, entry.id, text, True)
                if one is not None:
                    (faulty if text else seen)[one] = True
    for id_ in evidence.coded.ids(rows[~(seen | faulty)]):
        yield Fault(f"{evidence.run}/{WAVES}", id_, f"holds no wave of {id_}", False)


def _homes(evidence: Evidence) -> dict[str, np.ndarray]:
    """The shard of every part of codes, whether it is there or not -> the hashes of the recordings of that part."""
    homes = evidence.coded.by_part(evidence.coded.keys)
    return {shard_path(f"{evidence.run}/{WAVES}", part): hashes for part, hashes in homes.items()}


def _member_fault(window: Window, entry: Entry, samples: int | None, format: str) -> str:
    if samples is None:
        return f"is the wave of a recording that is not in {CODES}"
    if entry.num_samples != samples:
        return f"has {entry.num_samples:,} samples, its codes {samples:,}"
    header = member_header(entry.id, entry.size, format)
    if entry.offset - entry.start != len(header) or _moved(window, entry.start, len(header)).read() != header:
        return "has a damaged header in its tar"
    _moved(window, entry.offset, entry.size)
    return wave_fault(cast(BinaryIO, window), entry.size, samples, format)


def _moved(window: Window, offset: int, size: int) -> Window:
    """The window of a shard over another stretch of it: a new one would close the shard when it goes."""
    window.offset, window.size = offset, size
    window.seek(0)
    return window
