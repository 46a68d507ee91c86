"""A finished run -> its problems, a line each. Reads all parts, changes nothing."""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSystem, LocalFileSystem

from actors.checkpoint import codebook_size
from pipeline.errors import plural
from pipeline.run.run_json import run_settings
from pipeline.settings import Settings
from pipeline.sources.inputs import discover_all
from pipeline.sources.shard import of_shard, parse_shard
from pipeline.storage.at_once import at_once
from pipeline.storage.filesystem import locate
from pipeline.storage.text import clean_id
from pipeline.verify.check_inputs import other_content, planned_ids, unaccounted
from pipeline.verify.problems import CHECKS, skipped
from pipeline.verify.survey import Each, Evidence, gather, in_threads, whole

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
    location: str | Path,
    inputs: Sequence[str] | None = None,
    sample: int = 0,
    seed: int = 0,
    ray_address: str | None = None,
) -> Report:
    """Verify the run at `location`; with `inputs` (as for `tokenize`), also that each is there exactly once.

    `sample` recordings, chosen by `seed`, are encoded again from the inputs (by default those in run.json). Parts are
    read by threads of this process, or by tasks on the Ray cluster at `ray_address`.
    Raises InputError where there is no run, or where `inputs` cannot be planned.
    """
    fs, run = locate(str(location))
    with _reading(ray_address, fs) as each:
        evidence = gather(fs, run, codebook_size, each)
    problems = [line for find in CHECKS for line in bounded(find(evidence))]
    checked = [_counted(evidence)]
    if inputs:
        chosen = (run_settings(evidence.summary) if evidence.summary else Settings()).input
        shard, limit = ((evidence.summary or {}).get(key) for key in ("shard", "limit"))
        found = discover_all(
            inputs, chosen.column, chosen.access, root=chosen.root, channel=chosen.channel, vad=chosen.finds_speech
        )
        found = of_shard(found, parse_shard(shard) if shard else None)
        ids = planned_ids(found, limit)
        problems += bounded(unaccounted(evidence, ids))
        sound = not evidence.torn and evidence.rows["fault"].null_count == len(evidence.rows)
        problems += bounded(other_content(evidence, found)) if sound else []
        checked.append(f"{len(ids):,} planned inputs")
    if sample:
        from pipeline.verify.reencode import reencode  # imports the engine, which the other checks do not need

        again = reencode(str(location), evidence, sample, inputs, seed)
        problems += bounded(again.problems)
        checked += again.lines
    return Report(problems, checked)


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
    found, left_out = whole(evidence.recordings), skipped(evidence)
    more = f", {left_out:,} skipped" if left_out else ""
    recordings, chunks = plural(len(found), "recording"), plural(len(evidence.rows), "chunk")
    return (
        f"{recordings}, {chunks}, {plural(len(evidence.failed) - left_out, 'failure')}{more}"
        f" in {len(evidence.parts):,} + {len(evidence.failure_parts):,} parts"
    )
