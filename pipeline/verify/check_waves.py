"""The waves of a run against its codes: what is missing, damaged, twice or no one's. Shared by check and repair."""

import io
import os
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.audio.wav import wave_header
from pipeline.audio.wave_file import wave_fault
from pipeline.errors import OutputError
from pipeline.run.layout import CODES, WAVES, shard_path, shards, wave_kind, wave_path
from pipeline.run.shard import Entry, member_header, read_index
from pipeline.run.shards import is_part
from pipeline.storage.at_once import on_store
from pipeline.storage.id_set import hashes_among
from pipeline.storage.opening import Window
from pipeline.storage.text import id_hashes
from pipeline.verify.evidence import Evidence

WAVE_BATCH = 1000
"""Recordings whose ids are text at a time."""
WAV_HEAD_BYTES = len(wave_header(0))
"""What is read of a wave in a shard beside its member's header."""
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
    known, samples = hashes[order], samples[order]
    seen, faulty = np.zeros(len(order), bool), np.zeros(len(order), bool)
    homes = _homes(evidence)

    def look(path: str) -> _Shard | None:
        return _look(evidence.fs, path, known, samples, format) if path in homes or not is_part(path) else None

    paths = shards(evidence.fs, f"{evidence.run}/{WAVES}")
    for path, shard in zip(paths, on_store(evidence.fs, look, paths), strict=True):
        if shard is None:
            yield Fault(path, None, f"belongs to no part in {CODES}", True)
            continue
        if shard.damage:
            yield Fault(path, None, f"is damaged ({shard.damage})", True)
            continue
        away = np.zeros(len(shard.ids), bool)
        if is_part(path):
            away = ~hashes_among(shard.members, np.sort(homes[path]))
        for number, (id_, one, text) in enumerate(zip(shard.ids, shard.rows, shard.texts, strict=True)):
            if not text and (away[number] or (one >= 0 and seen[one])):
                text = "is the wave of a recording that has another, or whose codes are elsewhere"
            if text:
                yield Fault(path, id_, text, True)
            if one >= 0:
                (faulty if text else seen)[one] = True
    for without in evidence.coded.ids(np.sort(rows[order][~(seen | faulty)])):
        yield Fault(f"{evidence.run}/{WAVES}", without, f"holds no wave of {without}", False)


class _Shard(NamedTuple):
    """What a shard holds; `damage`: why it cannot be read, "" if it can."""

    damage: str
    ids: list[str]
    members: np.ndarray  # hashes of the ids
    rows: np.ndarray  # of each the place among the known recordings, -1 for others
    texts: list[str]  # of each what is wrong with its wave, "" if nothing is


def _look(fs: FileSystem, path: str, known: np.ndarray, samples: np.ndarray, format: str) -> _Shard:
    """Read the index of a shard and the headers of its waves; `known` are sorted hashes of recordings of `samples`."""
    try:
        entries = read_index(fs, path)
    except OutputError as error:
        return _Shard(str(error), [], known[:0], np.zeros(0, int), [])
    ids = [entry.id for entry in entries]
    members = id_hashes(pa.array(ids, pa.string()))
    rows = np.where(hashes_among(members, known), np.searchsorted(known, members), -1)
    lengths = (int(samples[row]) if row >= 0 else None for row in rows)
    with Window(fs.open_input_file(path), 0, 0) as window:
        texts = [_member_fault(window, entry, length, format) for entry, length in zip(entries, lengths, strict=True)]
    return _Shard("", ids, members, rows, texts)


def _homes(evidence: Evidence) -> dict[str, np.ndarray]:
    """The shard of every part of codes, whether it is there or not -> the hashes of the recordings of that part."""
    homes = evidence.coded.by_part(evidence.coded.keys)
    return {shard_path(f"{evidence.run}/{WAVES}", part): hashes for part, hashes in homes.items()}


def _member_fault(window: Window, entry: Entry, samples: int | None, format: str) -> str:
    """Of a WAV one request to a store: its header lies behind that of its member. `window` is over its shard."""
    if samples is None:
        return f"is the wave of a recording that is not in {CODES}"
    if entry.num_samples != samples:
        return f"has {entry.num_samples:,} samples, its codes {samples:,}"
    header = member_header(entry.id, entry.size, format)
    window.file.seek(entry.start)
    head = window.file.read(len(header) + WAV_HEAD_BYTES)
    if entry.offset - entry.start != len(header) or not head.startswith(header):
        return "has a damaged header in its tar"
    if format == "wav":
        return wave_fault(io.BytesIO(head[len(header) :]), entry.size, samples, format)
    window.offset, window.size = entry.offset, entry.size  # a new one would close the shard when it goes
    window.seek(0)
    return wave_fault(cast(BinaryIO, window), entry.size, samples, format)
