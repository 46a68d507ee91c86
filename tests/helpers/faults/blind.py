"""Nodes that do not see the inputs as the others do: one lacks the mount, one cannot read what it lists."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ray.cluster_utils import Cluster

from tests.helpers.faults.corpus import OPTIONS, Corpus, Trial, judge, judge_unfinished
from tests.helpers.faults.disk import UNSHARE
from tests.helpers.faults.drivers import first_after
from tests.helpers.faults.nodes import cluster
from tests.helpers.faults.processes import driver, end_session, until
from tests.helpers.faults.readers import failed

ONE_ACTOR: dict[str, Any] = {"reconstruct": False, "encode.actors": 1, "encode.cpus": 0}


def node_without_the_mount(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A second node does not see the corpus: the run stops and names it; without it, the same command finishes."""
    trials = []
    for number in range(times):
        run = place / f"run{number}"
        with cluster() as nodes:
            options = {**OPTIONS, **ONE_ACTOR, "ray_address": nodes.address}
            with odd_node(nodes, NO_MOUNT, corpus.folder), driver(corpus.folder, run, corpus.model, options) as one:
                code = one.ended(300)
                said = one.said.read_text()
            trial = judge_unfinished(corpus, run)
            trial.problems += [] if code == 2 and "does not see the inputs" in said else [f"ended with {code}: {said}"]
            trial.problems += [f"{id_} is a failure" for id_ in failed(run) - corpus.errors.keys()]
            with driver(corpus.folder, run, corpus.model, options) as one:
                trial.problems += one.ends_well()
                trial.recover_s = first_after(run, one)
        trials.append(trial + judge(corpus, run))
    return trials


def node_that_cannot_read(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A second node lists the corpus, but reading most of it fails there: another node reads that again."""
    trials = []
    for number in range(times):
        run = place / f"run{number}"
        with cluster() as nodes:
            options = {**OPTIONS, **ONE_ACTOR, "ray_address": nodes.address}
            odd = odd_node(nodes, UNREADABLE, corpus.folder, cpus=4)
            with odd, driver(corpus.folder, run, corpus.model, options) as one:
                problems = one.ends_well()
        trials.append(Trial(problems=problems) + judge(corpus, run))
    return trials


NO_MOUNT = 'mount -t tmpfs tmpfs "$0" && exec "$@" --block'
"""Hides the folder."""
UNREADABLE = """
for file in "$0"/[0-9b]*  # not long0.wav, which is read first and proves that the node sees the folder
do mount --bind /proc/self/mem "$file"  # of a process that is over: opens, and no read succeeds
done
exec "$@" --block
"""
"""The folder is there, but its files cannot be read, as on a stale mount."""


MOST_STARTS = 5
START_S = 60.0


@contextlib.contextmanager
def odd_node(nodes: Cluster, script: str, folder: Path, cpus: int = 2) -> Iterator[None]:
    """While inside, `nodes` has one more, whose processes see what `script` left of `folder`."""
    ray_start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address", nodes.address]
    ray_start += ["--num-cpus", str(cpus), "--dashboard-agent-listen-port", "0"]  # any free one: not the only Ray here
    before, command = _alive(nodes), [*UNSHARE, "sh", "-c", script, str(folder), *ray_start]
    node = _joined(command, lambda: _alive(nodes) > before)
    try:
        yield
    finally:
        end_session(node.pid)
        node.wait()
        until(lambda: _alive(nodes) == before, "the loss of a node")


def _joined(command: list[str], is_there: Callable[[], bool]) -> subprocess.Popen[bytes]:
    """A node once it `is_there`. It starts anew where it ends: another Ray here may have its ports."""
    for _ in range(MOST_STARTS):
        with tempfile.TemporaryFile() as output:
            node = subprocess.Popen(command, start_new_session=True, stdout=output, stderr=subprocess.STDOUT)
            try:
                until(lambda node=node: is_there() or node.poll() is not None, "a node", START_S)
            except TimeoutError:
                end_session(node.pid)
                node.wait()
            if node.poll() is None:
                return node
            output.seek(0)
            said = output.read().decode(errors="replace")
    raise RuntimeError(f"no node came in {MOST_STARTS} tries; the last one said: {said[-2000:]}")


def _alive(nodes: Cluster) -> int:
    return len(nodes.global_state._live_node_ids())
