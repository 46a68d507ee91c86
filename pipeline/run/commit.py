"""Committed parts -> what is done and what is not; at the end of a run, the pieces of long recordings put together."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSelector, FileSystem, FileType

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from pipeline.run.layout import CODES, FAILURES, WAVES, parts
from pipeline.run.parts import read_part
from pipeline.run.write import write_table
from pipeline.run.write_waves import join_pieces, remove_pieces
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.storage.atomic import UNFINISHED


@dataclass(frozen=True)
class Done:
    """What the parts of a run hold: a rerun does only the rest."""

    ids: pa.Array  # string: recordings with all their codes, or a failure
    partial: dict[str, frozenset[int]]  # long recordings of which only these chunks are committed


def committed(fs: FileSystem, run: str) -> Done:
    """Read ids and chunks, nothing else, of every part. Raises OutputError for a part that is none."""
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunk", "chunks"])
    failed = _failed(fs, run)
    long = rows.filter(pc.greater(rows["chunks"], 1))
    partial: dict[str, set[int]] = {}
    counts: dict[str, int] = {}
    for row in long.to_pylist():
        partial.setdefault(row["id"], set()).add(row["chunk"])
        counts[row["id"]] = row["chunks"]
    whole = [id_ for id_, chunks in partial.items() if len(chunks) == counts[id_]]
    short = rows.filter(pc.equal(rows["chunks"], 1))["id"].combine_chunks()
    ids = pa.concat_arrays([short, pa.array(whole, pa.string()), failed])
    finished = set(whole) | set(failed.to_pylist() if partial else [])
    return Done(ids, {id_: frozenset(chunks) for id_, chunks in partial.items() if id_ not in finished})


def settle(fs: FileSystem, run: str) -> dict[str, str | None]:
    """A long recording that failed in one chunk is a failure, once: drop its other chunks' rows and its later failures.

    Returns the sha256 of every part of codes that changed, None for one that is gone.
    """
    failures = parts(fs, run, FAILURES)
    failed = _failed(fs, run)
    changed: dict[str, str | None] = {}
    for path in parts(fs, run, CODES) if len(failed) else []:
        if pc.any(pc.is_in(_read(fs, [path], ["id"])["id"], failed)).as_py():
            rows = read_part(fs, path, CODES_SCHEMA)
            changed[path.rpartition("/")[2]] = _replace(fs, path, rows.filter(pc.invert(pc.is_in(rows["id"], failed))))
    if len(pc.unique(failed)) < len(failed):
        seen: set[str] = set()
        for path in failures:
            rows = read_part(fs, path, FAILURES_SCHEMA)
            ids = rows["id"].to_pylist()
            first = [id_ not in seen and ids.index(id_) == row for row, id_ in enumerate(ids)]
            seen.update(ids)
            if not all(first):
                _replace(fs, path, rows.filter(pa.array(first)))
    return changed


def join_long_waves(fs: FileSystem, run: str) -> int:
    """Put the reconstructions of long recordings together; returns how many. Pieces of failed ones are deleted."""
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunks", "num_samples"])
    long = rows.filter(pc.greater(rows["chunks"], 1)).group_by(["id", "chunks"]).aggregate([("num_samples", "sum")])
    joined = sum(
        join_pieces(fs, f"{run}/{WAVES}", row["id"], row["chunks"], row["num_samples_sum"]) for row in long.to_pylist()
    )
    remove_pieces(fs, f"{run}/{WAVES}")
    return joined


def unfinished(fs: FileSystem, run: str) -> list[str]:
    """Paths of what writers that were killed left beside run.json, the parts and the WAVs."""
    selectors = [FileSelector(run, allow_not_found=True)]
    for folder in (CODES, FAILURES, WAVES):
        selectors.append(FileSelector(f"{run}/{folder}", allow_not_found=True, recursive=True))
    found = [info for selector in selectors for info in fs.get_file_info(selector)]
    return [info.path for info in found if info.type == FileType.File and UNFINISHED.fullmatch(info.base_name)]


def sweep(fs: FileSystem, run: str) -> int:
    """Delete what is `unfinished`; returns how many files."""
    orphans = unfinished(fs, run)
    for path in orphans:
        with contextlib.suppress(FileNotFoundError):  # the lock's own, which beats beside run.json
            fs.delete_file(path)
    return len(orphans)


def checksums(fs: FileSystem, run: str, known: Mapping[str, str | None]) -> dict[str, str]:
    """sha256 of every part of codes that is there, by name: `known`, or read where an attempt was killed."""
    found = {}
    for path in parts(fs, run, CODES):
        name = path.rpartition("/")[2]
        sha256 = known.get(name)
        if sha256 is None:
            with fs.open_input_stream(path) as file:
                sha256 = hashlib.sha256(file.read()).hexdigest()
        found[name] = sha256
    return found


def count(fs: FileSystem, run: str, context_samples: int) -> dict[str, int | float]:
    """What the parts hold, and how much audio was encoded a second time as chunks' left context."""
    rows = _read(fs, parts(fs, run, CODES), ["id", "chunk", "first_frame", "num_samples", "num_frames"])
    before = pc.multiply(rows["first_frame"], FRAME_SAMPLES)  # the first chunks of a recording have less than all
    context = pc.sum(pc.min_element_wise(before, pa.scalar(context_samples, pa.int64()))).as_py() or 0
    samples = pc.sum(rows["num_samples"]).as_py() or 0
    return {
        "recordings": pc.sum(pc.equal(rows["chunk"], 0)).as_py() or 0,
        "chunks": len(rows),
        "failures": len(_failed(fs, run)),
        "frames": pc.sum(rows["num_frames"]).as_py() or 0,
        "audio_s": round(samples / SAMPLE_RATE, 3),
        "context_s": round(context / SAMPLE_RATE, 3),
    }


def _read(fs: FileSystem, paths: list[str], columns: list[str]) -> pa.Table:
    empty = pa.schema([CODES_SCHEMA.field(name) for name in columns]).empty_table()
    return pa.concat_tables([empty, *(read_part(fs, path, CODES_SCHEMA, columns) for path in paths)])


def _failed(fs: FileSystem, run: str) -> pa.Array:
    """The ids of all failures, in order. All columns are read: what is wrong is told before a run, not at its end."""
    tables = [read_part(fs, path, FAILURES_SCHEMA, FAILURES_SCHEMA.names) for path in parts(fs, run, FAILURES)]
    return pa.chunked_array([chunk for table in tables for chunk in table["id"].chunks], pa.string()).combine_chunks()


def _replace(fs: FileSystem, path: str, rows: pa.Table) -> str | None:
    """Put `rows` in the place of a part; delete it where none is left. Returns the new sha256."""
    if len(rows):
        return write_table(rows, fs, path)
    fs.delete_file(path)
    return None
