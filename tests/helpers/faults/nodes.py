"""Faults of a cluster: a node is killed, one joins, one is drained and then taken away, all in the middle of a run."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from ray._private.node import Node
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from actors.contract import SAMPLE_RATE
from tests.helpers.faults import on_gpus
from tests.helpers.faults.corpus import OPTIONS, Corpus, Trial, judge
from tests.helpers.faults.drivers import share_done
from tests.helpers.faults.processes import below, driver, encoders, kill, ray_folder, until
from tests.helpers.faults.workers import next_part, over, recovered, served
from tests.helpers.flaky import Behave
from tests.helpers.rows import tone

DRAIN_S = 5.0
"""What a cloud gives of a warning, made short: they say 30 s to 2 minutes."""
ELASTIC = {
    "reconstruct": False,
    "encode.actors": 2,
    "encode.min_actors": 1,
    "encode.max_actors": 3,
    "encode.cpus": 0,
}
"""As configs/cluster.yaml: what is left after a node died must have CPUs to read again what died with it, so actors
take none. With 0.5 each, three of them on the last node of 2 CPUs left no reader its whole one, and all waited."""


@contextlib.contextmanager
def cluster(**head: Any) -> Iterator[Cluster]:
    """A head with 2 CPUs. Nothing of it, or of the nodes that are added, outlives the `with`."""
    before = set(below(os.getpid()))
    with ray_folder():
        nodes = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "include_dashboard": False, **head},
            shutdown_at_exit=False,
        )
        try:
            yield nodes
        finally:
            nodes.shutdown()
            kill(*(below(os.getpid()).keys() - before))


def kill_node(nodes: Cluster, node: Node) -> None:
    """SIGKILL to all processes of a node at once, as if its machine lost power."""
    pids = [info.process.pid for kind in node.all_processes.values() for info in kind]
    kill(*pids, *below(*pids))
    nodes.remove_node(node, allow_graceful=False)


def raylet(node: Node) -> int:
    """The process that all workers of a node descend from."""
    return node.all_processes["raylet"][0].process.pid


def works(node: Node) -> bool:
    """Whether a task or an actor runs on `node`."""
    return any(
        title.startswith("ray::") and not title.startswith("ray::IDLE") for title in below(raylet(node)).values()
    )


READING_S = 60.0
"""What reading a corpus takes one reader: long enough for nodes to come and go."""


def slowly(files: int) -> Behave:
    """A server that takes READING_S for all its files."""

    def behave(path: str, before: int) -> str:
        time.sleep(READING_S / files)
        return "ok"

    return behave


Hurt = Callable[[Cluster, Node | None, Path], float | None]


def disturbed(corpus: Corpus, nodes: Cluster, run: Path, share: float, hurt: Hurt, workers: int) -> Trial:
    """A run on a head and `workers` nodes; `hurt(nodes, the worker, run)` happens when `share` of it is done."""
    rows = corpus.chunks + len(corpus.errors)
    node = nodes.add_node(num_cpus=2) if workers else None
    manifest = run.with_suffix(".jsonl")
    options: dict[str, Any] = {**OPTIONS, **ELASTIC, "ray_address": nodes.address}
    with served(corpus.folder, manifest, slowly(rows)), driver(manifest, run, corpus.model, options) as one:
        one.wait_for(lambda: share_done(run, rows, share) and (not node or works(node)))
        recover_s = None if one.over else hurt(nodes, node, run)
        problems = one.ends_well()
    for left in list(nodes.worker_nodes):
        kill_node(nodes, left)
    return Trial(recover_s, problems=problems) + judge(corpus, run, inputs=manifest)


def repeated(corpus: Corpus, place: Path, shares: list[float], hurt: Hurt, workers: int) -> list[Trial]:
    """`disturbed` once for each of `shares`, on one cluster."""
    with cluster() as nodes:
        return [disturbed(corpus, nodes, place / f"run{n}", share, hurt, workers) for n, share in enumerate(shares)]


def node_killed(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """One of two nodes is killed while it works."""
    return repeated(corpus, place, [random.uniform(0, 0.5) for _ in range(times)], switch_off, workers=1)


def switch_off(nodes: Cluster, node: Node | None, run: Path) -> float:
    """Seconds until a part is committed after that, by another encode actor where one was lost."""
    assert node is not None
    before, had_encoder = encoders(os.getpid()), bool(encoders(raylet(node)))
    kill_node(nodes, node)
    if had_encoder:
        return recovered(run, before)
    return next_part(run)


def node_added(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A node joins during a run and gets work."""
    return repeated(corpus, place, [random.uniform(0, 0.3) for _ in range(times)], join, workers=0)


def join(nodes: Cluster, node: Node | None, run: Path) -> float:
    """Seconds from the start of a node until it works."""
    start = time.monotonic()
    joined = nodes.add_node(num_cpus=2)
    until(lambda: works(joined) or over(run), "work on a node that joined")
    assert works(joined), "the run was over before the node that joined had work"
    return time.monotonic() - start


def node_drained(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A node is preempted: Ray is notified DRAIN_S before it is killed."""
    return repeated(corpus, place, [random.uniform(0, 0.4) for _ in range(times)], preempt, workers=1)


def preempt(nodes: Cluster, node: Node | None, run: Path) -> float:
    """Seconds from the kill until a part is committed."""
    assert node is not None
    deadline_ms = round((time.time() + DRAIN_S) * 1000)
    accepted, why = GcsClient(address=nodes.address).drain_node(
        node.node_id, DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), "preempted", deadline_ms
    )
    assert accepted, why
    time.sleep(DRAIN_S)
    kill_node(nodes, node)
    return next_part(run)


LOST_S = 5.0
"""In place of two minutes."""
RECORDINGS, LONG_S = 10, 600.0
FULL_S = 8.0
"""Until both actors have all the blocks in hand that they may have, and the readers have no memory left."""
MEMORY: dict[str, Any] = {"object_store_memory": 100 << 20}
BLOCKS: dict[str, Any] = {
    "device": "cuda",
    "chunk.length_s": 150,
    "chunk.context_s": 30,
    "chunk.block_mb": 16,
    "output.rows_per_part": 2,
    "output.agreement_s": 0,
}
"""With blocks as large as memory allows, as on GPUs, those in the hands of a lost actor leave none to the readers."""


def gpu_node_lost(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """One of two nodes with a GPU goes away for good: what its actor had in hand is read again, for the other one."""
    folder, wave, trials = place / "long", tone(LONG_S, seed=int(random.integers(1 << 30))), []
    folder.mkdir()
    soundfile.write(folder / "0.wav", wave, SAMPLE_RATE, subtype="FLOAT")
    for number in range(1, RECORDINGS):
        (folder / f"{number}.wav").hardlink_to(folder / "0.wav")
    codes = dict.fromkeys((f"{number}.wav" for number in range(RECORDINGS)), on_gpus.codes_of(wave))
    expected = Corpus(folder, corpus.model, codes, {}, 4 * RECORDINGS)
    for number in range(times):
        run = place / f"run{number}"
        with cluster(**MEMORY) as nodes:
            trials.append(_without_one(nodes, expected, run, waves=number % 2 == 1) + judge(expected, run))
    return trials


def _without_one(nodes: Cluster, corpus: Corpus, run: Path, waves: bool) -> Trial:
    """A run on a head and two nodes with a GPU each; seconds from the loss of one until the other goes on.

    With `waves` there are two pools: it depends on which of their actors were on which node whether the other waits.
    """
    both = [nodes.add_node(num_cpus=0, num_gpus=1, **MEMORY) for _ in range(2)]
    options, start = {**BLOCKS, "reconstruct": waves, "ray_address": nodes.address}, run.with_name("start")
    with driver(corpus.folder, run, corpus.model, options, module=(on_gpus.__name__, str(LOST_S), str(start))) as one:
        one.wait_for(lambda: all(encoders(raylet(node), busy=True) for node in both))
        time.sleep(FULL_S)
        kill_node(nodes, both[1])
        start.touch()
        again_s = until(lambda: "lost their GPUs" in one.said.read_text() or one.over, "another reading")
        recover_s = again_s + next_part(run)
        problems = one.ends_well()
        if not waves and "lost their GPUs" not in one.said.read_text():
            problems.append("the GPU that was left did not wait")
    start.unlink()
    return Trial(recover_s, problems=problems)
