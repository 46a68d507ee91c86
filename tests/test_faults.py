"""What a run survives, in short; `python tests/faults.py` does it at length. And other writers, and starting anew."""

import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fault_corpus import Corpus, make_corpus, undisturbed
from fault_disk import can_mount, disk_full
from fault_drivers import clock_jumps, driver_killed
from fault_nodes import cluster, disturbed, join, preempt, switch_off
from fault_workers import actor_killed, bad_files, dead_server, out_of_memory, poison
from faults import Fault
from pyarrow.fs import LocalFileSystem
from ray._private.node import Node
from ray.cluster_utils import Cluster
from rows import tone

from pipeline import tokenize
from pipeline.errors import OutputError
from pipeline.lock import LOCK_FILE, locked

LOCAL = LocalFileSystem()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, small_model: Path, local_ray: None) -> Corpus:
    """Some 20 files, and the codes of a run that nothing disturbed."""
    place = tmp_path_factory.mktemp("faults")
    return undisturbed(make_corpus(place / "corpus", 10), place / "run", small_model)


def survive(fault: Fault, corpus: Corpus, place: Path, times: int = 1) -> None:
    """Do it for real; nothing is lost, doubled, torn or left behind."""
    trials = fault(corpus, place, times, np.random.default_rng(0))
    assert len(trials) == times
    assert [trial for trial in trials if trial.bad] == []


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("fault", [actor_killed, poison, out_of_memory, dead_server, bad_files])
def test_what_happens_to_workers(fault: Fault, corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, corpus, tmp_path)


@pytest.mark.parametrize(("fault", "times"), [(driver_killed, 1), (clock_jumps, 1)])
def test_what_happens_to_drivers(fault: Fault, times: int, corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, corpus, tmp_path, times)


def test_a_full_disk(corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(disk_full, corpus, tmp_path)


def test_nodes_die_join_and_are_drained(corpus: Corpus, tmp_path: Path) -> None:
    def all_three(nodes: Cluster, node: Node | None, run: Path) -> float:
        switch_off(nodes, node, run)
        join(nodes, None, run)
        return preempt(nodes, next(iter(nodes.worker_nodes)), run)

    with cluster() as nodes:
        trial = disturbed(corpus, nodes, tmp_path / "run", 0.1, all_three, workers=1)
    assert not trial.bad, trial


@pytest.mark.usefixtures("local_ray")
def test_overwrite_starts_anew(tmp_path: Path, small_model: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), 24_000)
    options = {"model": str(small_model), "reconstruct": False, "quiet": True}
    tokenize(tmp_path / "a.wav", tmp_path / "run", **options)
    with pytest.raises(OutputError, match="attention"):
        tokenize(tmp_path / "a.wav", tmp_path / "run", attention="window", **options)
    run = tokenize(tmp_path / "a.wav", tmp_path / "run", attention="window", overwrite=True, **options)
    assert run.summary()["attention"] == "window"
    assert len(run.summary()["attempts"]) == 1


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    other = subprocess.Popen(["sleep", "60"])
    with locked(LOCAL, run):
        lock = Path(run, LOCK_FILE)
        lock.write_text(lock.read_text().replace(str(os.getpid()), str(other.pid)))
        with pytest.raises(OutputError, match=rf"process {other.pid}.*delete"), locked(LOCAL, run):
            pass
        other.kill()
        other.wait()
        with locked(LOCAL, run):  # its writer is dead: taken over
            assert str(os.getpid()) in lock.read_text()
    assert not Path(run).exists()


def test_a_writer_on_another_machine_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = str(tmp_path / "run")
    monkeypatch.setattr("pipeline.lock.BEAT_S", 0.05)
    monkeypatch.setattr("pipeline.lock.WATCH_S", 1.0)
    name = socket.gethostname()
    with locked(LOCAL, run), monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: f"not-{name}")
        with pytest.raises(OutputError, match=f"on {name}.*is writing this run"), locked(LOCAL, run):
            pass
    Path(run).mkdir()
    Path(run, LOCK_FILE).write_text('{"host": "gone", "pid": 1, "boot": "x", "beat": 3}')
    with locked(LOCAL, run):
        assert str(os.getpid()) in Path(run, LOCK_FILE).read_text()
