"""A short run of each fault; `python -m tests.faults` repeats them and measures."""

from pathlib import Path

import numpy as np
import pytest
from ray._private.node import Node
from ray.cluster_utils import Cluster

from tests.faults import Fault
from tests.helpers.faults.blind import node_that_cannot_read, node_without_the_mount
from tests.helpers.faults.corpus import Corpus, make_corpus, undisturbed
from tests.helpers.faults.disk import can_mount, disk_full
from tests.helpers.faults.drivers import clock_jumps, driver_killed
from tests.helpers.faults.isolation import (
    hang_of_a_reader,
    hang_of_an_actor,
    poison_for_readers,
    sticky_device_error,
)
from tests.helpers.faults.locks import two_takeovers_at_once
from tests.helpers.faults.nodes import cluster, disturbed, gpu_node_lost, join, preempt, switch_off
from tests.helpers.faults.puts import put_interrupted
from tests.helpers.faults.readers import reader_killed_files_come_back, reader_killed_files_go
from tests.helpers.faults.workers import actor_killed, bad_files, dead_server, out_of_memory, poison

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, small_model: Path, local_ray: None) -> Corpus:
    """Some 20 files, and the codes of a run that nothing disturbed."""
    place = tmp_path_factory.mktemp("faults")
    return undisturbed(make_corpus(place / "corpus", 10), place / "run", small_model)


def survive(fault: Fault, corpus: Corpus, place: Path, times: int = 1) -> None:
    """Inject the fault; nothing is lost, duplicated, torn or left behind."""
    trials = fault(corpus, place, times, np.random.default_rng(0))
    assert len(trials) == times
    assert [trial for trial in trials if trial.bad] == []


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    "fault",
    [
        actor_killed,
        poison,
        poison_for_readers,
        hang_of_a_reader,
        hang_of_an_actor,
        sticky_device_error,
        out_of_memory,
        dead_server,
        bad_files,
    ],
)
def test_what_happens_to_workers(fault: Fault, corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, corpus, tmp_path)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("fault", [reader_killed_files_come_back, reader_killed_files_go])
def test_readers_that_die_while_their_inputs_change(fault: Fault, corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, corpus, tmp_path, times=2)


@pytest.mark.parametrize(("fault", "times"), [(driver_killed, 1), (clock_jumps, 1)])
def test_what_happens_to_drivers(fault: Fault, times: int, corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, corpus, tmp_path, times)


@pytest.mark.parametrize("fault", [two_takeovers_at_once, put_interrupted])
def test_what_happens_to_locks_and_puts(fault: Fault, corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, corpus, tmp_path, times=8)


def test_a_full_disk(corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(disk_full, corpus, tmp_path)


def test_a_node_without_the_mount(corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(node_without_the_mount, corpus, tmp_path)


def test_a_node_that_cannot_read(corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(node_that_cannot_read, corpus, tmp_path)


def test_a_node_with_a_gpu_goes_away_for_good(corpus: Corpus, tmp_path: Path) -> None:
    survive(gpu_node_lost, corpus, tmp_path)


def test_nodes_die_join_and_are_drained(corpus: Corpus, tmp_path: Path) -> None:
    def all_three(nodes: Cluster, node: Node | None, run: Path) -> float:
        switch_off(nodes, node, run)
        join(nodes, None, run)
        return preempt(nodes, next(iter(nodes.worker_nodes)), run)

    with cluster() as nodes:
        trial = disturbed(corpus, nodes, tmp_path / "run", 0.1, all_three, workers=1)
    assert not trial.bad, trial
