"""One read task in a worker: what must be so before it reads, and what the driver hears of it."""

import functools
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from actors.watchdog import limited
from pipeline.cluster.keeper import RemoteLedger
from pipeline.cluster.load import refuse_other_packages
from pipeline.run.bound import Counts, Place
from pipeline.sources.isolation import isolated
from pipeline.sources.probe import Probes, refuse_blind_node
from pipeline.sources.task import ReadTask

FAILURES_A_REPORT = 100
"""What a reader counts before its task is over: a node that fails everything is soon known."""
Read = Callable[..., Iterator[pa.Table]]
"""(the task, find=how its recordings are found) -> their rows."""


class Held:
    """What the containers of a read task held, as its reader tells at its end; lives in an actor of its own."""

    def __init__(self) -> None:
        self.ids: dict[int, list[str]] = {}

    def set(self, number: int, ids: list[str]) -> None:
        """Called by a reader: the task's number, and every id that it came across."""
        self.ids[number] = ids

    def get(self) -> dict[int, list[str]]:
        """Called by the driver."""
        return self.ids


@dataclass(frozen=True)
class Terms:
    """What holds for every read task of a graph."""

    packages: Mapping[str, str | None]  # versions that a node must have
    attempts: RemoteLedger
    stall_s: float
    containers: Any  # a `Held` in a keeper; None where all tasks are of files
    probes: Probes
    census: Any  # a `run.bound.Census` in a keeper
    home: str  # the driver's node, which needs no probe


def read_task(read: Read, terms: Terms, number: int, task: ReadTask) -> Iterator[pa.Table]:
    """`read(task)`, where this node has the driver's packages and sees its inputs: it may have joined after the start.

    At its end, `terms.containers` is told which recordings task `number` held, unless the plan says it.
    """
    refuse_other_packages(terms.packages)
    if ray.get_runtime_context().get_node_id() != terms.home:
        refuse_blind_node(terms.probes, task.access)
    ids: dict[str, None] = {}
    counts = Counts()
    find = functools.partial(isolated, name=f"read {number}", attempts=terms.attempts)
    for rows in watched(read(task, find=find), terms):
        if task.kind != "files":
            ids.update(dict.fromkeys(rows["id"].to_pylist()))
        counts.see(rows, "read")
        if counts.failures >= FAILURES_A_REPORT:
            terms.census.add.remote(this_place("read"), counts)
            counts = Counts()
        yield rows
    terms.census.add.remote(this_place("read"), counts)
    if task.kind != "files":
        ray.get(terms.containers.set.remote(number, list(ids)))  # waits: a report that came late would be none


def this_place(stage: str) -> Place:
    """This worker's node, by a name that two nodes of one machine do not share, and `stage`."""
    node_id = ray.get_runtime_context().get_node_id()
    return Place(f"{platform.node()} ({node_id[:8]})", stage, node_id)


def watched(rows: Iterator[pa.Table], terms: Terms) -> Iterator[pa.Table]:
    """`rows`; ends the process where the next one is not heard of for `stall_s`. That Ray takes its time between two
    rows, which is how it slows readers down, does not count."""
    while True:
        with limited(terms.stall_s, terms.attempts.note_last):
            found = next(rows, None)
        if found is None:
            return
        yield found
