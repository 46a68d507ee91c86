"""A short run of each fault of nodes; `python -m tests.faults` repeats them and measures."""

from pathlib import Path

import pytest
from ray._private.node import Node
from ray.cluster_utils import Cluster

from tests.faults import survive
from tests.helpers.faults.blind import node_that_cannot_read, node_without_the_mount
from tests.helpers.faults.corpus import Corpus
from tests.helpers.faults.disk import can_mount
from tests.helpers.faults.nodes import cluster, disturbed, gpu_node_lost, join, preempt, switch_off

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def soon_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray asks its nodes more often than by default whether they live: a lost one is missed in 2 s, not in 15."""
    monkeypatch.setenv("RAY_health_check_period_ms", "300")


def test_a_node_without_the_mount(fault_corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(node_without_the_mount, fault_corpus, tmp_path)


def test_a_node_that_cannot_read(fault_corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(node_that_cannot_read, fault_corpus, tmp_path)


def test_a_node_with_a_gpu_goes_away_for_good(fault_corpus: Corpus, tmp_path: Path) -> None:
    survive(gpu_node_lost, fault_corpus, tmp_path)


def test_nodes_die_join_and_are_drained(fault_corpus: Corpus, tmp_path: Path) -> None:
    def all_three(nodes: Cluster, node: Node | None, run: Path) -> float:
        switch_off(nodes, node, run)
        join(nodes, None, run)
        return preempt(nodes, next(iter(nodes.worker_nodes)), run)

    with cluster() as nodes:
        trial = disturbed(fault_corpus, nodes, tmp_path / "run", 0.1, all_three, workers=1)
    assert not trial.bad, trial
