"""A run on disk -> the keys of its rows, its whole recordings, the faults of rows, the parts that cannot be read."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from actors.checkpoint import codebook_size
from pipeline.cluster.resources import local_cpus
from pipeline.errors import InputError, OutputError
from pipeline.run.layout import CODES, FAILURES, RETRYING, SKIPPED, parts
from pipeline.run.run_json import read_run_file
from pipeline.storage.at_once import at_once
from pipeline.verify.examine import IN_FILE_SCHEMA, ODD_SCHEMA, ROW, Examined, examine_codes, examine_failures
from pipeline.verify.recordings import Recordings, recordings
from pipeline.verify.rows import Rows

Each = Callable[[Callable[[str], Examined], list[str]], Any]
"""How parts are examined: an iterator over the results, in their order."""
Compare = Callable[[pa.Table, np.ndarray], None]
"""What is done with `examine.COMPARED` of each part without faults, and the hashes of its ids."""


@dataclass(frozen=True)
class Listed:
    """What is there of a run."""

    fs: FileSystem
    run: str
    summary: dict[str, Any] | None  # run.json; None if it is missing or damaged
    damage: str  # what is wrong with run.json; "" if nothing is
    parts: list[str]  # paths in RUN/codes
    failure_parts: list[str]  # in RUN/failures and RUN/skipped

    @property
    def recorded_parts(self) -> dict[str, str]:
        """The sha256 of every part, by name, from run.json."""
        return (self.summary or {}).get("parts", {})

    @property
    def with_waves(self) -> bool:
        """Whether the run is one with waves."""
        return bool((self.summary or {}).get("settings", {}).get("reconstruct"))


@dataclass(frozen=True)
class Evidence(Listed):
    """The content of a run, read once: 17 bytes a row (with waves 25), and what is odd about some."""

    coded: Rows
    failed: Rows  # skipped ones too
    sha256s: dict[str, str]  # of every part of codes, by name
    torn: dict[str, str]  # path of a part of any kind -> why it cannot be read
    odd: pa.Table  # `examine.ODD_SCHEMA`, of `coded`
    recordings: Recordings  # in `coded`
    frames: int  # in all rows of `coded`
    skipped: int  # of `failed`: recordings that the settings leave out

    @property
    def sound(self) -> bool:
        """Whether all parts can be read and no row has a fault."""
        return not self.torn and self.odd["fault"].null_count == len(self.odd)

    @property
    def whole_keys(self) -> np.ndarray:
        """Of the recordings that have all their chunks."""
        whole = self.recordings.whole
        return self.coded.keys if whole.all() else self.coded.keys[whole]


def in_threads(function: Callable[[str], Examined], paths: list[str]) -> Iterator[Examined]:
    """`at_once` in as many threads as this process has CPUs: they decode, and each holds a part in memory."""
    return at_once(function, paths, local_cpus())


def look(fs: FileSystem, run: str) -> Listed:
    """List the parts of a run and read run.json. Raises InputError if there is no run."""
    paths, failure_paths = parts(fs, run, CODES), parts(fs, run, FAILURES) + parts(fs, run, SKIPPED)
    try:
        summary, damage = read_run_file(fs, run), ""
    except OutputError as error:
        summary, damage = None, str(error)
    if summary is None and not damage and not paths:
        raise InputError(f"{run} holds no run: expected run.json or {CODES}/part-*.parquet in it.")
    return Listed(fs, run, summary, damage, paths, failure_paths)


def gather(run: Listed, each: Each = in_threads, compare: Compare | None = None) -> Evidence:
    """Read every part of the run completely, several at a time (as `each` does it); keeps what tells rows apart.

    `compare` is called in the order of the parts. Raises InputError if a file system fails.
    """
    chunk_samples = (run.summary or {}).get("chunk", {}).get("samples")
    size, asked = codebook_size((run.summary or {}).get("settings", {}).get("model", "")), compare is not None
    codes = functools.partial(examine_codes, run.fs, chunk_samples, size, asked)
    coded = _gathered(run, run.parts, each(codes, run.parts), compare)
    failures = functools.partial(examine_failures, run.fs, asked)
    failed = _gathered(run, run.failure_parts, each(failures, run.failure_parts), compare)
    waiting = parts(run.fs, run.run, RETRYING)  # of a retry that was killed: the next command reads them
    unread = _gathered(run, waiting, each(failures, waiting), None).torn
    return Evidence(
        **vars(run),
        coded=coded.rows,
        failed=failed.rows,
        sha256s=coded.sha256s,
        torn=coded.torn | failed.torn | unread,
        odd=coded.odd,
        recordings=recordings(coded.rows.keys, coded.odd, coded.samples),
        frames=coded.sums["frames"],
        skipped=failed.sums["skipped"],
    )


class _Gathered(NamedTuple):
    """What the parts of codes hold together, or those of failures and skipped ones."""

    rows: Rows
    odd: pa.Table
    samples: np.ndarray
    sha256s: dict[str, str]
    torn: dict[str, str]
    sums: Counter[str]


def _gathered(run: Listed, paths: list[str], found: Iterable[Examined], compare: Compare | None) -> _Gathered:
    keys, samples, ends = bytearray(), bytearray(), [0]  # they grow in place: arrays, joined at the end, take it twice
    odd, in_file = [ODD_SCHEMA.empty_table()], [IN_FILE_SCHEMA.empty_table()]
    sha256s, torn, sums = dict[str, str](), dict[str, str](), Counter[str]()
    for path, part in zip(paths, found, strict=True):
        odd += _moved(part.odd, ends[-1])
        in_file += _moved(part.in_file, ends[-1])
        keys += part.keys.tobytes()
        samples += part.samples.tobytes() if run.with_waves else b""
        ends.append(len(keys) // part.keys.itemsize)
        torn.update({path: part.torn} if part.torn else {})
        sha256s.update({path.rpartition("/")[2]: part.sha256} if part.sha256 else {})
        sums.update(frames=part.frames, skipped=part.skipped)
        if compare and part.compared is not None:
            compare(part.compared, part.keys)
    inside = pa.concat_tables(in_file)
    rows = Rows(run.fs, paths, np.array(ends[1:], np.int64), np.frombuffer(keys, "S16"), inside)
    odds = pa.concat_tables(odd).combine_chunks()
    return _Gathered(rows, odds, np.frombuffer(samples, np.int64), sha256s, torn, sums)


def _moved(table: pa.Table, begin: int) -> list[pa.Table]:
    """`table`, whose rows are counted from the `begin` of their part; none if it is empty."""
    return [table.set_column(0, ROW, pc.add(table["row"], begin))] if len(table) else []
