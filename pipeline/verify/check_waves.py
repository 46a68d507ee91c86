"""The waves of a run against its codes: what is missing, damaged, twice or no one's. Shared by check and repair."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileInfo, FileType

from pipeline.audio.wave_file import wave_fault
from pipeline.errors import OutputError
from pipeline.run.layout import CODES, WAVES, shard_path, shards, wave_kind, wave_path
from pipeline.run.shard import Entry, member_header, read_index
from pipeline.run.shards import is_part
from pipeline.storage.opening import Window
from pipeline.verify.survey import Evidence, whole

WAVE_BATCH = 1000
"""Files that are looked up in one call."""


class Fault(NamedTuple):
    """Something wrong with the waves of a run."""

    path: str  # of a file or of a shard
    id: str | None  # the recording; None: of the whole shard
    text: str
    deleted: bool  # whether `repair` deletes it


def wanted(evidence: Evidence) -> bool:
    """Whether the run is one with waves."""
    return bool((evidence.summary or {}).get("settings", {}).get("reconstruct"))


def wave_faults(evidence: Evidence) -> Iterator[Fault]:
    """What is wrong with the waves of the recordings that have all their codes."""
    kind = wave_kind((evidence.summary or {}).get("settings", {}))
    return _in_shards(evidence, kind.format) if kind.layout == "tar" else _in_files(evidence, kind.format)


def _in_files(evidence: Evidence, format: str) -> Iterator[Fault]:
    for batch in whole(evidence.recordings).to_batches(max_chunksize=WAVE_BATCH):
        ids = batch["id"].to_pylist()
        infos = evidence.fs.get_file_info([wave_path(f"{evidence.run}/{WAVES}", id_, format) for id_ in ids])
        for id_, info, samples in zip(ids, infos, batch["num_samples_sum"].to_pylist(), strict=True):
            if info.type != FileType.File:
                yield Fault(info.path, id_, "is missing", False)
            elif text := _file_fault(evidence, info, samples, format):
                yield Fault(info.path, id_, text, True)


def _file_fault(evidence: Evidence, info: FileInfo, samples: int, format: str) -> str:
    with evidence.fs.open_input_file(info.path) as file:
        return wave_fault(file, info.size, samples, format)


def _in_shards(evidence: Evidence, format: str) -> Iterator[Fault]:
    """Each recording must be in one shard: that of its part, or one that belongs to no part."""
    found = whole(evidence.recordings)
    samples = dict(zip(found["id"].to_pylist(), found["num_samples_sum"].to_pylist(), strict=True))
    homes = _homes(evidence)
    seen: set[str] = set()
    faulty: set[str] = set()
    for path in shards(evidence.fs, f"{evidence.run}/{WAVES}"):
        if is_part(path) and path not in homes:
            yield Fault(path, None, f"belongs to no part in {CODES}", True)
            continue
        try:
            entries = read_index(evidence.fs, path)
        except OutputError as error:
            yield Fault(path, None, f"is damaged ({error})", True)
            continue
        with Window(evidence.fs.open_input_file(path), 0, 0) as window:
            for entry in entries:
                text = _member_fault(window, entry, samples.get(entry.id), format)
                if not text and (entry.id in seen or (is_part(path) and entry.id not in homes[path])):
                    text = "is the wave of a recording that has another, or whose codes are elsewhere"
                if text:
                    faulty.add(entry.id)
                    yield Fault(path, entry.id, text, True)
                else:
                    seen.add(entry.id)
    for id_ in samples.keys() - seen - faulty:
        yield Fault(f"{evidence.run}/{WAVES}", id_, f"holds no wave of {id_}", False)


def _homes(evidence: Evidence) -> dict[str, frozenset[str]]:
    """The shard of every part of codes, whether it is there or not -> the recordings of that part."""
    rows = evidence.rows
    found = {}
    for number, part in enumerate(evidence.parts):
        ids = rows.filter(pc.equal(rows["part"], pa.scalar(number, pa.int32())))["id"].to_pylist()
        found[shard_path(f"{evidence.run}/{WAVES}", part)] = frozenset(ids)
    return found


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
