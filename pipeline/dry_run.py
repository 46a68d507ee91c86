"""`--dry-run`: inputs and a run's folder -> what a command would read. Writes nothing, takes no lock, starts no Ray."""

import itertools
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audio.duration import header_seconds
from pipeline.audio.length import ANY, Lengths
from pipeline.changes import refuse_inside
from pipeline.errors import RecordingError
from pipeline.run.committed import NOTHING, committed, outcomes
from pipeline.run.containers import read_through
from pipeline.run.keys import Keys
from pipeline.run.resume import other_bounds, refuse_other_contents, refuse_other_shard
from pipeline.run.run_json import read_run_file
from pipeline.settings import Settings, load_settings
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import Discovered, discover_all, named
from pipeline.sources.limit import refuse_limit
from pipeline.sources.passed_over import bounded
from pipeline.sources.plan import Plan, divide
from pipeline.sources.rows import taken
from pipeline.sources.shard import of_shard, parse_shard
from pipeline.sources.task import UNIT_SCHEMA
from pipeline.storage.access import Access
from pipeline.storage.filesystem import locate
from pipeline.storage.opening import open_recording

MOST_OPENED = 200
"""Files whose headers are read, evenly spaced among those of unknown length."""
MOST_S = 20.0
"""Seconds after which files that are still not open are left out of the estimate."""
THREADS = 16
FIRST_IDS = 5
FIRST_TASKS = 4
"""Tasks that are opened to find FIRST_IDS ids: all recordings of the first task may be committed already."""
DURATIONS = ("duration_s", "duration")
"""Columns of a manifest that tell lengths, in seconds."""


@dataclass(frozen=True)
class Preview:
    """What a command would do."""

    files: int  # recordings to read that are files, or rows of a manifest
    containers: dict[str, int]  # to read, by kind; only opening them tells how many recordings they hold
    recordings: int | None  # to read; None where only opening containers tells
    tasks: int
    columns: dict[str, str]  # that travel, and their types
    first_ids: list[str]
    passed_over: dict[str, int]  # files and folders, by suffix
    runs: list[str]  # that are passed over
    committed: dict[str, int] | None  # recordings, failures and skipped ones of the run that is there; None: no run
    known: int  # of the files, those whose length is known
    known_h: float  # their hours
    about_h: float | None  # of all files, by those whose header was read
    skipped: int  # of the known ones, those that `input.min_s` and `input.max_s` leave out
    shard: str | None
    limit: int | None


def dry_run(
    inputs: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    shard: str | None = None,
    overwrite: bool = False,
) -> Preview:
    """What `tokenize` with these arguments would read. Raises what it raises for inputs and for other shards.

    Opens at most MOST_OPENED files; Parquet footers are read as always, and the first container for its first ids.
    """
    chosen = load_settings(config, settings)
    refuse_limit(limit)
    parsed_shard = parse_shard(shard)
    paths = named(inputs)
    fs, run = locate(str(out), chosen.input.schemes)
    refuse_inside(paths, chosen.input.schemes, fs, run)
    there = read_run_file(fs, run)
    if there is None:
        refuse_other_contents(fs, run)
    before = None if overwrite else there
    record = {"shard": None if parsed_shard is None else str(parsed_shard), "settings": chosen.model_dump(mode="json")}
    if before is not None:
        refuse_other_shard(run, before, record)
    found = of_shard(discover_all(paths, **chosen.input.finding), parsed_shard)
    again = other_bounds(before, record)
    keys = Keys(fs, run)
    done = NOTHING if before is None else committed(keys, with_skipped=not again)
    planned = divide(
        found,
        done.ids,
        read_through=None if before is None else read_through(keys, done),
        task_bytes=round(chosen.input.task_mb * 2**20),
        parallelism=chosen.input.readers or os.cpu_count() or 1,
        limit=limit,
    )
    return _preview(found, planned, chosen, None if before is None else outcomes(keys), shard, limit)


def _preview(
    found: Discovered,
    planned: Plan,
    settings: Settings,
    there: dict[str, int] | None,
    shard: str | None,
    limit: int | None,
) -> Preview:
    units = [task.units for task in planned.tasks if task.kind == "files"]
    files = pa.concat_tables(units) if units else UNIT_SCHEMA.empty_table()
    seconds = told_seconds(files)
    told = ~np.isnan(seconds)
    rest = np.flatnonzero(~told)
    opened = rest[np.linspace(0, len(rest) - 1, min(len(rest), MOST_OPENED)).astype(int)] if len(rest) else rest
    some = taken(files.select(["@location", "@start_s"]), opened)
    whole = opened_seconds(some["@location"].to_pylist(), settings.input.access)
    seconds[opened] = np.maximum(whole - pc.fill_null(some["@start_s"], 0.0).to_numpy(), 0.0)  # NaN stays
    known = seconds[~np.isnan(seconds)]
    sampled = seconds[opened][~np.isnan(seconds[opened])]
    about = None
    if len(known) == len(seconds) or len(sampled):
        missing = len(seconds) - len(known)
        about = round((known.sum() + (missing * sampled.mean() if missing else 0.0)) / 3600, 4)
    bounds = settings.input
    lengths = ANY if bounds.finds_speech else Lengths(bounds.min_s, bounds.max_s)  # they are of the stretches
    return Preview(
        files=len(files),
        containers=_containers(planned),
        recordings=planned.recordings,
        tasks=len(planned.tasks),
        columns={field.name: str(field.type) for field in planned.carried},
        first_ids=_first_ids(planned),
        passed_over=dict(bounded(found.passed_over)),
        runs=found.runs,
        committed=there,
        known=len(known),
        known_h=round(float(known.sum()) / 3600, 4),
        about_h=about,
        skipped=int(np.count_nonzero(lengths.outside(known))),
        shard=shard,
        limit=limit,
    )


def told_seconds(files: pa.Table) -> np.ndarray:
    """float64 [files]: the length of each, by its bounds or by a column of its manifest; NaN: not told.

    0 where the bounds are none of a recording: it will be a failure. A negative or infinite length tells nothing.
    """
    start, end = pc.fill_null(files["@start_s"], 0.0), files["@end_s"]
    valid = pc.and_(pc.greater_equal(start, 0.0), pc.and_(pc.greater(end, start), pc.is_finite(end)))
    seconds = pc.if_else(valid, pc.subtract(end, start), 0.0)  # null where there is no end
    for name in DURATIONS:
        kind = files.schema.field(name).type if name in files.schema.names else pa.null()
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            told = files[name].cast(pa.float64())
            real = pc.and_(pc.greater_equal(told, 0.0), pc.is_finite(told))
            seconds = pc.coalesce(seconds, pc.if_else(real, told, None))
    return np.array(pc.fill_null(seconds.cast(pa.float64()), np.nan).to_numpy())


def opened_seconds(locations: list[str], access: Access) -> np.ndarray:
    """float64 [locations]: lengths as headers tell, NaN where they do not, or not in time."""
    once = replace(access, retries=0, timeout_s=min(access.timeout_s, MOST_S))
    with_threads = ThreadPoolExecutor(THREADS)
    tries = [with_threads.submit(_header_seconds, location, once) for location in locations]
    wait(tries, timeout=MOST_S)
    with_threads.shutdown(wait=False, cancel_futures=True)
    found = [one.result() if one.done() and not one.cancelled() else None for one in tries]
    return np.array([np.nan if seconds is None else seconds for seconds in found], np.float64)


def _header_seconds(location: str, access: Access) -> float | None:
    try:
        with open_recording(location, access) as file:
            return header_seconds(file)
    except RecordingError:
        return None


def _containers(planned: Plan) -> dict[str, int]:
    found: dict[str, set[str]] = {}
    for task in planned.tasks:
        if task.kind != "files":
            found.setdefault(task.kind, set()).update(task.units["@id"].to_pylist())
    return {kind: len(ids) for kind, ids in found.items()}


def _first_ids(planned: Plan) -> list[str]:
    """Of the files; where there are none, of the recordings of the first containers, which are opened."""
    ids = itertools.chain.from_iterable(task.units["@id"].to_pylist() for task in planned.tasks if task.kind == "files")
    first = list(itertools.islice(ids, FIRST_IDS))
    inside = itertools.chain.from_iterable(map(recordings, planned.tasks[:FIRST_TASKS]))
    return first or [one.id for one in itertools.islice(inside, FIRST_IDS)]
