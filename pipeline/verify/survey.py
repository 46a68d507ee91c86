"""A run on disk -> a table of its chunks without the codes, the faults of their rows, the parts that cannot be read."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from pipeline.errors import InputError, OutputError
from pipeline.run.alike import first_of, groups, shared
from pipeline.run.layout import CODES, FAILURES, SKIPPED, parts
from pipeline.run.run_json import read_run_file
from pipeline.storage.at_once import at_once
from pipeline.verify.examine import FAILED_SCHEMA, ROWS_SCHEMA, Examined, examine_codes, examine_failures

Each = Callable[[Callable[[str], Examined], list[str]], Any]
"""How parts are examined: an iterator over the results, in their order."""


@dataclass(frozen=True)
class Evidence:
    """The content of a run, read once. Rows are in the order of the parts and of their rows."""

    fs: FileSystem
    run: str
    summary: dict[str, Any] | None  # run.json; None if it is missing or damaged
    damage: str  # what is wrong with run.json; "" if nothing is
    parts: list[str]  # paths in RUN/codes
    failure_parts: list[str]  # in RUN/failures and RUN/skipped
    sha256s: dict[str, str]  # of every part of codes, by name
    torn: dict[str, str]  # path of a part of either kind -> why it cannot be read
    rows: pa.Table  # ROWS_SCHEMA, and "part": the number of its part
    failed: pa.Table  # FAILED_SCHEMA and "part"; skipped ones too, whose stage is SKIP
    recordings: pa.Table  # `recordings` of the sound rows

    @property
    def recorded_parts(self) -> dict[str, str]:
        """The sha256 of every part, by name, from run.json."""
        return (self.summary or {}).get("parts", {})

    def ids(self, found: pa.Table) -> pa.ChunkedArray:
        """The ids of some of `recordings`."""
        mask = np.zeros(len(self.rows), bool)
        mask[found["row"].to_numpy()] = True
        return self.rows["id"].filter(pa.array(mask))

    def id_of(self, row: int) -> str | None:
        """The id of a row of codes."""
        return self.rows["id"][row].as_py()


def in_threads(function: Callable[[str], Examined], paths: list[str]) -> Iterator[Examined]:
    """`at_once` in as many threads as there are CPUs, four at least: what they do is decoding."""
    return at_once(function, paths, max(4, os.cpu_count() or 1))


def gather(fs: FileSystem, run: str, codebook_size: Callable[[str], int], each: Each = in_threads) -> Evidence:
    """Read every part of the run completely, several at a time (as `each` does it); keeps what tells rows apart.

    `codebook_size` maps a model to the size of its codebooks. Raises InputError if there is no run, or if a file system
    fails.
    """
    paths, failure_paths = parts(fs, run, CODES), parts(fs, run, FAILURES) + parts(fs, run, SKIPPED)
    summary, damage = _summary(fs, run)
    if summary is None and not damage and not paths:
        raise InputError(f"{run} holds no run: expected run.json or {CODES}/part-*.parquet in it.")
    chunk_samples = (summary or {}).get("chunk", {}).get("samples")
    size = codebook_size((summary or {}).get("settings", {}).get("model", ""))
    sha256s: dict[str, str] = {}
    torn: dict[str, str] = {}
    tables: list[pa.Table] = []
    for examine, schema, some in (
        (functools.partial(examine_codes, fs, chunk_samples, size), ROWS_SCHEMA, paths),
        (functools.partial(examine_failures, fs), FAILED_SCHEMA, failure_paths),
    ):
        found = [schema.append(pa.field("part", pa.int32())).empty_table()]
        for number, (path, part) in enumerate(zip(some, each(examine, some), strict=True)):
            found.append(part.rows.append_column("part", pa.array(np.full(len(part.rows), number, np.int32))))
            torn.update({path: part.torn} if part.torn else {})
            sha256s.update({path.rpartition("/")[2]: part.sha256} if part.sha256 else {})
        tables.append(pa.concat_tables(found))
    rows, failed = tables
    return Evidence(
        fs,
        run,
        summary,
        damage,
        paths,
        failure_paths,
        sha256s,
        torn,
        rows,
        failed,
        recordings(rows),
    )


def _summary(fs: FileSystem, run: str) -> tuple[dict[str, Any] | None, str]:
    try:
        return read_run_file(fs, run), ""
    except OutputError as error:
        return None, str(error)


def hashes_of(rows: pa.Table, name: str = "key") -> np.ndarray:
    """ "S16" [rows] ("S8" for "print"): a column of hashes."""
    kind = f"S{rows.schema.field(name).type.byte_width}"
    some = [np.frombuffer(one.buffers()[1], kind)[one.offset :][: len(one)] for one in rows[name].chunks]
    return np.concatenate([np.empty(0, kind), *some])


def first_sound(rows: pa.Table, hashes: np.ndarray) -> np.ndarray:
    """bool [rows]: the row has no fault, and is the first such row of its (id, chunk); `hashes_of` the `rows`."""
    mask = rows["fault"].is_null().to_numpy().copy()
    several = shared([hashes])
    several = several[mask[several]]
    mask[several] = False
    mask[several[first_of(hashes[several], rows["chunk"].to_numpy()[several])]] = True
    return mask


def recordings(rows: pa.Table) -> pa.Table:
    """A row for each recording of the `first_sound` rows, in their order: the number of its first row; chunks_min and
    chunks_max, which differ if its rows disagree; chunk_count and num_samples_sum of its chunks."""
    hashes = hashes_of(rows)
    sound = np.flatnonzero(first_sound(rows, hashes))
    hashes = hashes if len(sound) == len(rows) else hashes[sound]  # of 50 M rows, 800 MB
    several = shared([hashes])
    order, begins = groups(hashes[several])
    order = several[order]
    del hashes
    firsts, kept = order[begins], np.ones(len(sound), bool)
    kept[order] = False
    kept[firsts] = True
    found = {"row": pa.array(sound[kept])}
    sizes = np.diff([*begins.tolist(), len(order)]) if len(begins) else begins
    for name, column, function in OVER_CHUNKS:
        values = pc.fill_null(rows[column], 0).to_numpy()[sound] if column else np.ones(len(sound), np.int32)
        values[firsts] = function.reduceat(values[order], begins) if function and len(begins) else sizes
        found[name] = pa.array(values[kept])
    return pa.table(found)


OVER_CHUNKS: tuple[tuple[str, str, np.ufunc | None], ...] = (
    ("chunks_min", "chunks", np.minimum),
    ("chunks_max", "chunks", np.maximum),
    ("chunk_count", "", None),
    ("num_samples_sum", "num_samples", np.add),
)
"""Columns of `recordings`: of what, and how it is put together."""


def whole(found: pa.Table) -> pa.Table:
    """Those of `recordings` that have all their chunks."""
    agreed = pc.equal(found["chunks_min"], found["chunks_max"])
    return found.filter(pc.and_(agreed, pc.equal(found["chunk_count"], found["chunks_max"])))


def of_several_versions(rows: pa.Table) -> np.ndarray:
    """The number of a row of each recording whose chunks have different fingerprints."""
    long = np.flatnonzero(pc.fill_null(pc.greater(rows["chunks"], 1), False).to_numpy())
    hashes, print_ = hashes_of(rows)[long], hashes_of(rows, "print")[long]
    versions = first_of(hashes, print_)
    order, begins = groups(hashes[versions])
    several = np.diff([*begins, len(order)]) > 1 if len(begins) else np.empty(0, bool)
    return np.sort(long[versions[order[begins[several]]]])
