"""Decisions before a run; an actor refuses other weights, other packages and a missing folder."""

import functools
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest
import ray
import ray.data
from ray._common.network_utils import build_address

from actors.checkpoint import find_model
from actors.pools.encode import EncodeChunks
from actors.pools.isolate import Ledger
from pipeline.cluster.connect import clean_start, join, tell_of_lost_head
from pipeline.cluster.keeper import RemoteLedger, keep
from pipeline.cluster.load import load_codec
from pipeline.cluster.session import data_context, session
from pipeline.cluster.versions import OWN_CODE, installed, refuse
from pipeline.errors import ClusterError, ModelError
from pipeline.job import Job, prepare
from pipeline.read import read_chunks
from pipeline.read_task import Terms, read_task
from pipeline.settings import Settings, load_settings
from pipeline.sources.plan import plan
from tests.helpers.rooms import ROOT
from tests.helpers.rows import tone
from tests.helpers.sounds import sound

CPUS = {"CPU": 4.0}


def job_of(model: str, out: Path) -> Job:
    settings = load_settings(None, {"model": model, "device": "cpu", "reconstruct": False})
    return prepare(settings, find_model(model), str(out), CPUS, ("encode",))


@pytest.fixture
def job(small_model: Path, tmp_path: Path) -> Job:
    return job_of(str(small_model), tmp_path / "run")


def test_names_of_models_hold_on_every_machine(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_model.parent)
    assert job_of(small_model.name, tmp_path).model == str(small_model)
    assert job_of(f"./{small_model.name}", tmp_path).model == str(small_model)
    assert job_of("demo", tmp_path).model == "demo"
    monkeypatch.setenv("HOME", str(small_model.parent))
    assert job_of(f"~/{small_model.name}", tmp_path).model == str(small_model)


def test_a_hub_id_stays_one(small_model: Path, tmp_path: Path) -> None:
    settings = load_settings(None, {"device": "cpu"})
    assert prepare(settings, small_model, str(tmp_path), CPUS, ("encode",)).model == settings.model


def test_the_track_that_is_set_is_the_one_that_is_read(small_model: Path, tmp_path: Path) -> None:
    settings = load_settings(None, {"device": "cpu", "input.track": 2})
    reading = prepare(settings, small_model, str(tmp_path / "run"), CPUS, ("encode",)).reading
    (tmp_path / "a.wav").write_bytes(sound("wav"))
    planned = plan([str(tmp_path / "a.wav")])
    (row,) = (row for rows in read_chunks(planned.tasks[0], reading, planned.carried, {}) for row in rows.to_pylist())
    assert (row["error"], row["audio"]) == ("NoSuchTrack", None)


def test_an_actor_loads_the_drivers_weights(job: Job) -> None:
    codec = load_codec(job.codec("encode"))
    assert codec.fingerprint == job.sha256
    assert codec.encode([tone(0.5)])[0].shape == (7, 16)


def test_an_actor_refuses_other_weights(job: Job) -> None:
    with pytest.raises(ModelError, match=f"other weights on node {platform.node()} than on the driver"):
        load_codec(replace(job.codec("encode"), sha256="0" * 64))


@pytest.mark.parametrize("here", ["nowhere", "empty"])
def test_an_actor_without_the_folder_says_where_it_must_be(job: Job, tmp_path: Path, here: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=rf"On node {platform.node()}: .*{here}.*file system that every node shares"):
        load_codec(replace(job.codec("encode"), model=str(tmp_path / here)))


def test_an_actor_that_cannot_reach_the_hub_says_which(job: Job) -> None:
    with pytest.raises(ModelError, match=rf"On node {platform.node()}: The model 'nobody/nothing' is not in the hub's"):
        load_codec(replace(job.codec("encode"), model="nobody/nothing"))


def test_an_actor_refuses_other_packages(job: Job) -> None:
    seen = job.packages["soxr"]
    with pytest.raises(ClusterError, match=rf"soxr 99\.0 is wanted, {seen} is on {platform.node()}\. Install"):
        load_codec(replace(job.codec("encode"), packages={**job.packages, "soxr": "99.0"}))


def test_a_reader_refuses_other_packages(job: Job) -> None:
    terms = Terms({"soxr": "99.0"}, RemoteLedger(None), 0.0, None, {}, None, None, "", None, None)
    rows = read_task(lambda task, find: iter([]), terms, 0, None)  # before any task is read
    with pytest.raises(ClusterError, match=rf"soxr 99\.0 is wanted, .* is on {platform.node()}"):
        next(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("error", [ModelError, ClusterError])
def test_what_an_actor_refuses_reaches_the_user(job: Job, small_model: Path, tmp_path: Path, error: type) -> None:
    gone = shutil.copytree(small_model, tmp_path / "model")
    wrong = replace(job, model=str(gone)) if error is ModelError else replace(job, packages={"soxr": "99.0"})
    shutil.rmtree(gone)

    def run() -> None:
        rows = ray.data.from_arrow(pa.table({"id": ["a"]})).map_batches(
            EncodeChunks,
            fn_constructor_kwargs={
                "load": functools.partial(load_codec, wrong.codec("encode")),
                "attempts": RemoteLedger(kept["ledger"]),
            },
            batch_format="pyarrow",
            **job.resources.pools["encode"].arguments(),
        )
        rows.materialize()

    with keep(ledger=Ledger) as kept, pytest.raises(error, match=platform.node()) as raised, data_context(1 << 22, 0.0):
        run()
    assert "\n" not in str(raised.value)


def test_ray_starts_where_no_other_package_has_our_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with clean_start():
        assert Path.cwd() == tmp_path
    (tmp_path / "pipeline").mkdir()
    with clean_start():
        assert Path.cwd() == Path("/")
    assert Path.cwd() == tmp_path
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    with clean_start():
        assert Path.cwd() == root


@pytest.mark.parametrize("theirs", [None, "info"])
def test_rays_log_level_is_the_users_again(monkeypatch: pytest.MonkeyPatch, theirs: str | None) -> None:
    name = "RAY_BACKEND_LOG_LEVEL"
    monkeypatch.setenv(name, theirs) if theirs else monkeypatch.delenv(name, raising=False)
    with clean_start():
        assert os.environ[name] == (theirs or "fatal")
    assert os.environ.get(name) == theirs


def test_a_working_folder_that_is_gone_or_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline").mkdir()
    monkeypatch.chdir(tmp_path)
    before = os.fstat(2)
    with monkeypatch.context() as closed:
        closed.setattr(Path, "exists", Mock(side_effect=PermissionError))  # tests may run as root, who may enter any
        with clean_start():
            closed.setattr(os, "chdir", Mock(side_effect=PermissionError))
            assert Path.cwd() == tmp_path
    shutil.rmtree(tmp_path)
    with pytest.raises(ClusterError, match="working folder was deleted"), clean_start():
        pass
    assert os.path.samestat(os.fstat(2), before)  # errors are seen again


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ray://127.0.0.1:1", "Ray Client"),
        ("127.0.0.1:1", "No Ray cluster"),
        ("http://127.0.0.1:1", "dashboard, for `ray job submit`"),
    ],
)
def test_an_address_where_no_cluster_answers(address: str, says: str) -> None:
    with pytest.raises(ClusterError, match=f"{address}.*{says}|{says}.*{address}"):
        join(address)


def test_auto_is_the_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    for address in ("auto", None):
        with pytest.raises(ClusterError, match=r"No Ray cluster answers at '127\.0\.0\.1:1'"):
            join(address)


def test_auto_where_no_ray_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(address: str) -> str:
        raise ConnectionError("set `--address`")

    monkeypatch.setattr("pipeline.cluster.connect.canonicalize_bootstrap_address", found)
    with pytest.raises(ClusterError, match=r"^No Ray runs on this machine: .*--ray-address HOST:6379"):
        join("auto")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@IPV6
def test_an_address_of_ipv6_where_no_cluster_answers() -> None:
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at '\[::1\]:1': .*refused"):
        join("[::1]:1")


def test_no_temporary_folder_for_the_code_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    says = r"cannot be used: .*No usable temporary directory"
    with socket.create_server(("127.0.0.1", 0)) as head, pytest.raises(ClusterError, match=says):
        join(f"127.0.0.1:{head.getsockname()[1]}")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=IPV6)])
def test_a_head_that_is_lost_is_told_of(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    with socket.create_server((host, 0), family=family) as head:
        address = build_address(host, head.getsockname()[1])
        with tell_of_lost_head(address, every_s=0.01):
            for _ in range(3):
                head.accept()[0].close()
            assert capsys.readouterr().err == ""
            head.close()
            said, give_up = "", time.monotonic() + 30
            while not said and time.monotonic() < give_up:
                time.sleep(0.01)
                said = capsys.readouterr().err
    assert f"head at {address} does not answer" in said


@pytest.mark.parametrize("address", [None, ""])
def test_a_local_ray_that_does_not_start(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", Mock(side_effect=Exception("The current node timed out during startup.")))
    with pytest.raises(ClusterError, match=r"does not start.*timed out.*/ray:.*RAY_TMPDIR"), session(Settings()):
        pass


def test_installed_knows_versions_and_the_code() -> None:
    import numpy

    found = installed()
    assert found["numpy"] == numpy.__version__
    assert "+" not in str(found["torch"])
    assert len(str(found[OWN_CODE])) == 12
    assert found == installed()


@pytest.mark.parametrize("changed", ["pipeline/flow.py", "pipeline/storage/text.py", "actors/network/layers.py"])
def test_the_hash_of_the_code_reaches_every_folder(tmp_path: Path, changed: str) -> None:
    for package in ("pipeline", "actors"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "demo_*"))
    code = "from pipeline.cluster.versions import OWN_CODE, installed; print(installed()[OWN_CODE])"
    hashes = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        hashes.append(done.stdout)
        (tmp_path / changed).write_text((tmp_path / changed).read_text() + "# changed")
    assert hashes[0] != hashes[1]


def test_every_difference_is_one_message() -> None:
    wanted = {"torch": "2.0", "av": "1.0", OWN_CODE: "abc"}
    fine = {**wanted, "more": "1"}
    refuse(wanted, {"a": fine, "b": fine})
    answers = {name: {**fine, "torch": "1.9"} for name in "bcdef"} | {"a": {**fine, "av": None}}
    with pytest.raises(ClusterError) as raised:
        refuse(wanted, answers)
    assert "torch 2.0 is wanted, 1.9 is on b, c, d and 2 more; av 1.0 is wanted, none is on a." in str(raised.value)
    assert "py_modules" not in str(raised.value)
    with pytest.raises(ClusterError, match=r"voxmill's code abc is wanted, xyz is on a\..*py_modules"):
        refuse(wanted, {"a": {**fine, OWN_CODE: "xyz"}})


def test_python_dash_m_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "show", "nowhere"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("voxmill: nowhere holds no run")
