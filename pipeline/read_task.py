"""One read task in a worker: the checks before it reads, and its reports to the driver."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import ray

from actors.watchdog import limited
from pipeline.audio.resample import seconds_resampling
from pipeline.cluster.keeper import Kept, RemoteLedger
from pipeline.cluster.load import refuse_other_packages
from pipeline.cluster.spent import Spent, tell, this_node
from pipeline.run.bound import Counts, Place
from pipeline.run.layout import RUN_FILE
from pipeline.run.resume import refuse_unshared
from pipeline.sources.isolation import isolated
from pipeline.sources.probe import Probes, refuse_blind_node
from pipeline.sources.task import ReadTask, unpacked_ids

TELL_EVERY_S = 1.0
"""Seconds between two reports of a reader. It reports before its task is over, so that a node on which everything fails
is noticed soon."""
SEEN = ["id", "chunk", "chunks", "num_samples", "stage", "error", "message"]
"""Columns that census and meter look at."""
Read = Callable[..., Iterator[pa.Table]]
"""(the task, find=how its recordings are found, partial=`Done.partial`) -> their rows."""


@dataclass(frozen=True)
class Terms:
    """What holds for every read task of a graph."""

    packages: Mapping[str, str | None]  # versions that a node must have
    attempts: RemoteLedger
    stall_s: float
    containers: Kept  # a `run.held.Held`; not told where all tasks are `listed`
    probes: Probes
    census: Kept  # a `run.bound.Census`
    meter: Kept  # a `cluster.meter.Meter`
    home: str  # the driver's node, which needs no probe
    run: str | None  # its folder; None: in a store, which is the same everywhere
    partial: "ray.ObjectRef | None"  # `Done.partial`, where there is any: once for all tasks


def read_task(
    read: Read, terms: Terms, number: int, task: ReadTask, done: "ray.ObjectRef | None" = None
) -> Iterator[pa.Table]:
    """`read(task)`, where this node has the driver's packages and sees its inputs: it may have joined after the start.

    `done`: the task's own, where several tasks share it. At its end, `terms.containers` is told which recordings task
    `number` held, unless the plan says it.
    """
    refuse_other_packages(terms.packages)
    if ray.get_runtime_context().get_node_id() != terms.home:
        refuse_blind_node(terms.probes, task.access)
        if terms.run is not None:
            refuse_unshared(terms.run, f"{terms.run}/{RUN_FILE}")
    ids: dict[str, None] = {}
    teller = Teller(terms)
    find = functools.partial(isolated, name=f"read {number}", attempts=terms.attempts)
    if done is not None:
        task = replace(task, done=unpacked_ids(ray.get(done)))
    partial = {} if terms.partial is None else ray.get(terms.partial)
    for rows, busy_s in watched(read(task, find=find, partial=partial), terms):
        if not task.listed:
            ids.update(dict.fromkeys(rows["id"].to_pylist()))
        teller.see(rows, busy_s)
        yield rows
    teller.tell()
    if not task.listed:
        terms.containers.ask("add", number, pa.array(ids, pa.string()))  # waits: a report that came late would be none


class Teller:
    """Tells census and meter what a reader has done, once a second: a recording a message would cost more than it."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.told = terms, time.monotonic()
        self.rows: list[pa.Table] = []
        self.busy_s, self.resampled_s = 0.0, seconds_resampling()

    def see(self, rows: pa.Table, busy_s: float) -> None:
        """Rows that were read in `busy_s`."""
        self.rows.append(rows.select(SEEN))  # not the audio
        self.busy_s += busy_s
        if time.monotonic() - self.told >= TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """All that was not told yet."""
        self.told, resampled_s = time.monotonic(), seconds_resampling()
        counts, spent = Counts(), Spent(resample_s=resampled_s - self.resampled_s)
        if self.rows:
            rows = pa.concat_tables(self.rows)
            counts.see(rows, "read")
            spent.see(rows, "read", self.busy_s)
        node, node_id = this_node()
        self.terms.census.tell("add", Place(node, "read", node_id), counts)
        tell(self.terms.meter, "read", spent)
        self.rows, self.busy_s, self.resampled_s = [], 0.0, resampled_s


def watched(rows: Iterator[pa.Table], terms: Terms) -> Iterator[tuple[pa.Table, float]]:
    """`rows`, and the seconds that each took. Ends the process if the next one does not come within `stall_s`. The
    time that Ray lets pass between two rows, which is how it slows readers down, does not count."""
    while True:
        start = time.monotonic()
        with limited(terms.stall_s, terms.attempts.note_last):
            found = next(rows, None)
        if found is None:
            return
        yield found, time.monotonic() - start
