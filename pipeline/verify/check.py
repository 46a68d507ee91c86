"""A finished run -> its problems, a line each. Reads all parts, changes nothing."""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.changes import Changes, Comparison
from pipeline.errors import InputError, plural
from pipeline.run.read_as import one_way
from pipeline.run.reader import Run, location_of
from pipeline.run.run_json import run_settings
from pipeline.settings import Input, Settings
from pipeline.sources.inputs import Discovered, discover_all, named
from pipeline.sources.shard import of_shard, parse_shard
from pipeline.sources.task import UNIT_SCHEMA
from pipeline.storage.at_once import at_once
from pipeline.storage.filesystem import locate
from pipeline.storage.text import clean_id
from pipeline.verify.check_inputs import lost_inputs, other_content, unaccounted
from pipeline.verify.evidence import Each, Evidence, Listed, gather, in_threads, look
from pipeline.verify.problems import CHECKS

MAX_LINES = 10
"""Lines for one kind of problem; the rest is counted."""
FETCHED_AT_ONCE = 8
"""Parts of a run on a store, each in memory: more than there are CPUs, for they wait."""


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    problems: list[str]  # empty: none
    checked: list[str]  # what was looked at


def check(
    location: str | Path | Run,
    inputs: str | Path | Iterable[str | Path] | None = None,
    sample: int = 0,
    seed: int = 0,
    ray_address: str | None = None,
) -> Report:
    """Verify the run at `location`, a folder, a URI or what `open_run` gives; with `inputs` (as for `tokenize`), also
    that each is there exactly once.

    `sample` recordings, chosen by `seed`, are encoded again from the inputs (by default those in run.json). Parts are
    read by threads of this process, or by tasks on the Ray cluster at `ray_address`.
    Raises InputError where there is no run, or where `inputs` cannot be planned.
    """
    place = location_of(location)
    paths = [] if inputs is None else named(inputs)
    if sample < 0:
        raise InputError(f"sample is {sample}; expected a number of recordings, or 0.")
    run = look(*locate(place))
    with _reading(ray_address, run.fs) as each:
        evidence, lines, planned = _compared(run, paths, each) if paths else (gather(run, each), [], [])
    problems = [line for find in CHECKS for line in bounded(find(evidence))] + lines
    checked = [_counted(evidence), *planned]
    if sample:
        from pipeline.verify.reencode import reencode  # imports the engine, which the other checks do not need

        again = reencode(place, evidence, sample, paths, seed)
        problems += bounded(again.problems)
        checked += again.lines
    return Report(problems, checked)


def _compared(run: Listed, inputs: Sequence[str], each: Each) -> tuple[Evidence, list[str], list[str]]:
    """The content of the run, what is wrong with it beside `inputs`, and how many these are. The inputs take the most
    memory of all: they are gone when this returns."""
    planned = _planned(run, inputs)
    comparison = Comparison(planned, moved=True)
    evidence = gather(run, each, comparison.add)
    lost, number = lost_inputs(evidence, planned, comparison.files, (run.summary or {}).get("limit"))
    changed = comparison.finish(run.fs, run.run) if evidence.sound else Changes()
    problems = [*bounded(unaccounted(lost)), *bounded(other_content(changed))]
    return evidence, problems, [plural(number, "planned input")]


def _planned(run: Listed, inputs: Sequence[str]) -> Discovered:
    """What `inputs` hold, found as by the run."""
    chosen = (run_settings(run.summary) if run.summary else Settings()).input
    if run.summary:
        chosen = Input.model_validate({**chosen.model_dump(), **one_way(run.summary, inputs)})
    found = of_shard(discover_all(inputs, **chosen.finding), parse_shard((run.summary or {}).get("shard")))
    bare = [replace(one, units=one.units.select(UNIT_SCHEMA.names)) for one in found.found]  # no columns that travel
    return replace(found, found=bare)


@contextlib.contextmanager
def _reading(ray_address: str | None, fs: FileSystem) -> Iterator[Each]:
    """How parts are examined."""
    if ray_address is None:
        yield in_threads if isinstance(fs, LocalFileSystem) else functools.partial(at_once, threads=FETCHED_AT_ONCE)
        return
    from pipeline.cluster.session import session  # Ray takes seconds to import
    from pipeline.cluster.spread import spread

    with session(Settings(ray_address=ray_address)):
        yield spread


def bounded(lines: Iterable[str]) -> list[str]:
    """The first few of `lines`, and how many more there are."""
    rest = map(clean_id, lines)  # ids in them come from the data
    first = list(itertools.islice(rest, MAX_LINES))
    more = sum(1 for _ in rest)
    return [*first, f"... and {more:,} more of this kind"] if more else first


def _counted(evidence: Evidence) -> str:
    left_out = evidence.skipped
    more = f", {left_out:,} skipped" if left_out else ""
    found = int(np.count_nonzero(evidence.recordings.whole))
    recordings, chunks = plural(found, "recording"), plural(len(evidence.coded), "chunk")
    return (
        f"{recordings}, {chunks}, {plural(len(evidence.failed) - left_out, 'failure')}{more}"
        f" in {len(evidence.parts):,} + {len(evidence.failure_parts):,} parts"
    )
