"""A node that lacks the mount of the inputs: its processes find an empty folder in the place of the corpus."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ray.cluster_utils import Cluster

from tests.helpers.faults.corpus import OPTIONS, Corpus, Trial, judge, judge_unfinished
from tests.helpers.faults.disk import UNSHARE
from tests.helpers.faults.drivers import first_after
from tests.helpers.faults.nodes import ELASTIC, cluster
from tests.helpers.faults.processes import driver, end_session, until
from tests.helpers.faults.readers import failed


def node_without_the_mount(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A second node does not see the corpus: the run stops and names it; without it, the same command finishes."""
    trials = []
    for number in range(times):
        run = place / f"run{number}"
        with cluster() as nodes:
            options: dict[str, Any] = {**OPTIONS, **ELASTIC, "ray_address": nodes.address}
            with blind_node(nodes, corpus.folder), driver(corpus.folder, run, corpus.model, options) as one:
                code = one.process.wait(300)
                said = one.said.read_text()
            trial = judge_unfinished(corpus, run)
            trial.problems += [] if code == 2 and "does not see the inputs" in said else [f"ended with {code}: {said}"]
            trial.problems += [f"{id_} is a failure" for id_ in failed(run) - corpus.errors.keys()]
            with driver(corpus.folder, run, corpus.model, options) as one:
                trial.problems += one.ends_well()
                trial.recover_s = first_after(run, one)
        trials.append(trial + judge(corpus, run))
    return trials


@contextlib.contextmanager
def blind_node(nodes: Cluster, folder: Path) -> Iterator[None]:
    """While inside, `nodes` has one more, for whose processes `folder` is empty."""
    ray_start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address", nodes.address, "--num-cpus", "2"]
    script = 'mount -t tmpfs tmpfs "$0" && exec "$@" --block'
    before = _alive(nodes)
    node = subprocess.Popen(
        [*UNSHARE, "sh", "-c", script, str(folder), *ray_start],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _alive(nodes) > before, "a node", 60)
        yield
    finally:
        end_session(node.pid)
        node.wait()
        until(lambda: _alive(nodes) == before, "the loss of a node", 60)


def _alive(nodes: Cluster) -> int:
    return len(nodes.global_state._live_node_ids())
