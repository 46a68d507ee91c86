"""Which GPUs a Ray that is started here may see; one run at a time; how runs end that cannot go on."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.data import DataContext
from ray.data.exceptions import ExecutionTimeoutError

import pipeline.cluster.session
from pipeline.cluster.keeper import keep
from pipeline.cluster.session import _interrupts_wait, _memory, _own_token, _visible, data_context, session
from pipeline.errors import ClusterError, DeviceError, LostActors
from pipeline.settings import load_settings

NAME = "CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("before", "device", "inside"),
    [
        (None, "auto", None),
        (None, "cuda", None),
        (None, "cuda:1", "1"),
        ("2,3", "cuda", "2,3"),
        ("2,3", "cuda:1", "3"),
        ("GPU-7a, MIG-8b", "cuda:0", "GPU-7a"),
    ],
)
def test_cuda_counts_the_gpus_that_may_be_seen(
    monkeypatch: pytest.MonkeyPatch, before: str | None, device: str, inside: str | None
) -> None:
    monkeypatch.delenv(NAME, raising=False) if before is None else monkeypatch.setenv(NAME, before)
    with contextlib.suppress(KeyError), _visible(device):
        assert os.environ.get(NAME) == inside
        raise KeyError("Ray does not start")
    assert os.environ.get(NAME) == before


@pytest.mark.parametrize("before", ["2,3", "", "-1,"])
def test_a_gpu_that_is_hidden_is_refused(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    monkeypatch.setenv(NAME, before)
    with pytest.raises(DeviceError, match=f"device is 'cuda:2', and {NAME} is '{before}'; count from cuda:0"):
        _visible("cuda:2").__enter__()


def test_a_ray_that_runs_picks_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(DeviceError, match=r"'cuda:1' picks a GPU of this machine.*where Ray runs already, use 'cuda'"):
        session(load_settings(None, {"device": "cuda:1"})).__enter__()


def test_an_interrupt_waits_while_ray_starts_and_while_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second press of a kernel's stop button, too."""
    came: list[str] = []

    def interrupted(name: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        came.append(name)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(pipeline.cluster.session, "_start_local", lambda: interrupted("started"))
    monkeypatch.setattr(ray, "shutdown", lambda: interrupted("ended"))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), session(load_settings(None, {})):
        came.append("inside")
    assert came == ["started", "ended"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _interrupts_wait():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_ray_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray.util.client.ray, "is_connected", lambda: True)
    with pytest.raises(ClusterError, match=r"of a Ray Client \(ray://.*ray job submit"):
        session(load_settings()).__enter__()


def test_runs_of_two_threads_come_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside, most, entered = [0], [0], threading.Event()

    @contextlib.contextmanager
    def alone(settings: object) -> Iterator[None]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        entered.set()
        yield
        inside[0] -= 1

    def second() -> None:
        with session(load_settings()):
            pass

    monkeypatch.setattr(pipeline.cluster.session, "_session", alone)
    monkeypatch.setattr(pipeline.cluster.session, "PATIENCE_S", 0.1)
    thread = threading.Thread(target=second)
    with session(load_settings()):
        with session(load_settings()):  # of the same thread: no one else's
            assert most[0] == 2
        most[0] = 1
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()
    assert most[0] == 1
    assert capsys.readouterr().err == "voxmill: another run of this process comes first\n"


@pytest.mark.parametrize(("stall_s", "bound_s"), [(1800.0, 7800.0), (25.0, 700.0), (0.0, math.inf)])
def test_ray_gives_up_after_our_own_watch(stall_s: float, bound_s: float) -> None:
    before = DataContext.get_current().execution_no_progress_timeout_s
    with data_context(1 << 22, stall_s):
        assert DataContext.get_current().execution_no_progress_timeout_s == bound_s
    assert DataContext.get_current().execution_no_progress_timeout_s == before


LOST = """UDF failed
ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: _Keeper
\tactor_id: 25
"""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ExecutionTimeoutError("no progress\nOperators:\n  - Read: 2 active\n  - Map: 0 active\nor"),
            "Read: 2 active; Map",
        ),
        (LostActors("1 of 2 actors lost their GPUs."), "lost their GPUs"),
        (ray.exceptions.RayError(LOST), "died, of too little memory perhaps: _Keeper"),
    ],
)
def test_what_ends_a_run_says_how_to_go_on(error: Exception, says: str) -> None:
    with pytest.raises(ClusterError, match=f"{says}.*the same command .*goes on"), data_context(1 << 22, 1.0):
        raise error


@pytest.mark.usefixtures("local_ray")
def test_an_actor_that_never_comes_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.cluster.session, "START_S", 2.0)

    class Never:
        def __call__(self, rows: pa.Table) -> pa.Table:
            return rows

    def run() -> None:
        rows = ray.data.from_arrow(pa.table({"id": ["a"]}))
        rows.map_batches(Never, concurrency=1, num_gpus=1, batch_size=1, batch_format="pyarrow").materialize()

    says = r"^Nothing moved for 3 s \(.*MapBatches\(Never\)"
    with pytest.raises(ClusterError, match=says), data_context(1 << 22, 0.25):
        run()


@pytest.mark.usefixtures("local_ray")
def test_a_keeper_does_not_stay_in_a_ray_of_the_users() -> None:
    with keep(counts=dict) as kept:
        assert kept["counts"].ask("get", "a") is None

    def ask() -> None:
        for _ in range(300):  # it is told to end
            kept["counts"].ask("get", "a", timeout_s=30)
            time.sleep(0.1)

    with pytest.raises(ray.exceptions.ActorDiedError):
        ask()


def test_a_local_ray_has_the_memory_of_its_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.cluster.session, "get_system_memory", lambda: 512 << 30)
    monkeypatch.setattr(pipeline.cluster.session, "memory_limit", lambda: None)
    assert _memory() == {}
    monkeypatch.setattr(pipeline.cluster.session, "memory_limit", lambda: 2 << 30)
    given = _memory()
    assert 0 < given["object_store_memory"] < 1 << 30
    assert sum(given.values()) == 2 << 30
    monkeypatch.setattr(pipeline.cluster.session, "memory_limit", lambda: 512 << 30)
    assert _memory() == {}


def test_without_a_home_directory_ray_gets_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": "/nowhere", "RAY_AUTH_MODE": "disabled"})
    _own_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    monkeypatch.setattr(os, "environ", {"HOME": "/nowhere"})
    _own_token()
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 32
    os.environ["RAY_AUTH_MODE"] = "token"  # Ray does, as it starts
    _own_token()
    assert os.environ["RAY_AUTH_TOKEN"] == token


def test_with_a_home_directory_ray_keeps_its_token_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})
    _own_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
