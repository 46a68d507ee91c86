"""Jobs submitted to two nodes of `ray start`: what is sent, what must be installed, codes equal to a local run."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ray.util.state import list_nodes
from ray.util.state.exception import ServerUnavailable

from pipeline import open_run, tokenize
from tests.cluster.test_metrics import asked
from tests.helpers.rows import tone

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
GIVE_UP_S = 240
NODE = ["--block", "--node-ip-address=127.0.0.1", "--object-store-memory=200000000", "--disable-usage-stats"]
CONFIG = ["--config", str(ROOT / "configs" / "cluster.yaml"), "--precision", "fp32", "--set", "input.task_mb=0.1"]
CONFIG += ["--set", "output.report=false"]

MARKS = """

def _mark(what):
    import pathlib

    import ray

    pathlib.Path({marks!r}, f"{{what}}-{{ray.get_runtime_context().get_node_id()}}").write_text(__file__)
"""
READ_MARK = """
_read_chunks = read_chunks


def read_chunks(*given, **named):
    _mark("read")
    return _read_chunks(*given, **named)
"""
ENCODE_MARK = """
_call = EncodeChunks.__call__


def _marked(self, chunks):
    _mark("encode")
    return _call(self, chunks)


EncodeChunks.__call__ = _marked
"""
SIMULATED_GPU = """
_load_codec, _replace = load_codec, __import__("dataclasses").replace


def load_codec(spec):
    return _load_codec(_replace(spec, device="cpu"))
"""


class NodeEndedError(Exception):
    """`ray start` ended by itself; what it printed."""


@dataclass
class Cluster:
    """A head and its workers; every process of it has `token` in its environment."""

    folder: Path
    token: str = field(default_factory=lambda: f"VOXMILL_TEST={uuid.uuid4().hex}")
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    exports: list[int] = field(default_factory=lambda: free_ports(2))  # for Prometheus, of the two nodes
    started: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def jobs(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def environment(self, **more: str) -> dict[str, str]:
        """Like another machine: an old voxmill is installed, which must not be imported."""
        name, _, value = self.token.partition("=")
        return {**os.environ, "PYTHONPATH": str(self.folder / "old"), name: value, **more}

    def start(self, name: str, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
        """`ray start`, and wait until that node can be given work; it ends when the process is told to."""
        self.started += 1
        said = self.folder / f"{name}.log"
        command = [*RAY, "start", *NODE, f"--temp-dir={self.folder / name}", *options]
        with said.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment(**environment))
        give_up = time.monotonic() + GIVE_UP_S
        while self.nodes() < self.started:
            if process.poll() is not None:
                raise NodeEndedError(said.read_text())
            assert time.monotonic() < give_up, said.read_text()
            time.sleep(0.2)
        return process

    def start_both(self) -> None:
        """Start the head "a" and the worker "b"."""
        often = {"RAY_metrics_report_interval_ms": "500"}
        names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
        ports = [f"--{name}={port}" for name, port in zip(names, self.ports, strict=True)]
        exports = [f"--metrics-export-port={port}" for port in self.exports]
        self.start("a", "--head", "--num-cpus=2", "--num-gpus=0", exports[0], *ports, **often)
        self.start("b", f"--address={self.address}", "--num-cpus=0", "--num-gpus=1", exports[1], **often)

    def nodes(self) -> int:
        """How many nodes are alive; 0 while Ray does not answer."""
        try:
            return len(list_nodes(address=self.jobs, filters=[("state", "=", "ALIVE")]))
        except (ServerUnavailable, ConnectionError):
            return 0

    def end(self) -> None:
        """Kill every process that was started here, and their children."""
        give_up = time.monotonic() + 60
        while alive := list(processes_with(self.token)):
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            assert time.monotonic() < give_up, alive
            time.sleep(0.1)


def free_ports(number: int) -> list[int]:
    """Free ports, of those that neither the kernel (from 32768) nor Ray (to 19999) gives to others meanwhile."""
    free = []
    for port in random.sample(range(20_000, 32_768), 1000):
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            free.append(port)
        if len(free) == number:
            return free
    raise AssertionError("no free ports from 20000 to 32767")


def processes_with(token: str) -> Iterator[int]:
    """Live processes that have `token` in their environment."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if token.encode() in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """As in configs/: CPUs to read with, here the head's, and a worker with a GPU, a simulated one, and no CPU."""
    with tempfile.TemporaryDirectory(prefix="vx", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        for package in ("pipeline", "actors"):
            (cluster.folder / "old" / package).mkdir(parents=True)
            (cluster.folder / "old" / package / "__init__.py").write_text("raise ImportError('the old voxmill')\n")
        try:
            try:
                cluster.start_both()
            except NodeEndedError as ended:  # Ray gives up where its first answer takes 30 s, which was seen to happen
                print(f"started again, for a node ended by itself: {ended}")
                cluster.end()
                cluster = Cluster(Path(folder))
                cluster.start_both()
            yield cluster
        finally:
            cluster.end()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout whose readers and encode actors leave a mark: node and file, in `marks`.

    And its "cuda" is a CPU: what Ray schedules on GPUs runs anywhere.
    """
    folder, marks = tmp_path / "checkout", tmp_path / "marks"
    marks.mkdir()
    for name in ("pipeline", "actors", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    for file, mark in (("pipeline/read/__init__.py", READ_MARK), ("actors/pools/encode.py", ENCODE_MARK)):
        with (folder / file).open("a") as code:
            code.write(MARKS.format(marks=str(marks)) + mark)
    with (folder / "pipeline" / "cluster" / "load.py").open("a") as code:
        code.write(SIMULATED_GPU)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", tone(1.0 + number / 8, seed=number), 16_000)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    return folder


def marks_of(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """ "read" or "encode" -> (node, file) of every mark."""
    found: dict[str, set[tuple[str, str]]] = {"read": set(), "encode": set()}
    for mark in folder.iterdir():
        what, _, node = mark.name.partition("-")
        found[what].add((node, mark.read_text()))
    return found


def check_marks(marks: dict[str, set[tuple[str, str]]], cluster: Cluster) -> None:
    """Readers on one node, the encoder on the other, both with the code that Ray sent."""
    readers, encoders = ({node for node, _ in marks[what]} for what in ("read", "encode"))
    assert len(readers) == len(encoders) == 1
    assert readers != encoders
    for _, file in marks["read"] | marks["encode"]:
        assert file.startswith(str(cluster.folder))
        assert "/runtime_resources/" in file


@pytest.mark.usefixtures("local_ray")
def test_a_submitted_job_makes_the_codes_of_a_local_run(
    cluster: Cluster, checkout: Path, corpus: Path, tmp_path: Path
) -> None:
    command = [*RAY, "job", "submit", "--address", cluster.jobs, "--working-dir", ".", "--", sys.executable]
    command += ["-m", "pipeline", "tokenize", str(corpus), "--out", str(tmp_path / "run"), "--model", "demo", *CONFIG]
    done = subprocess.run(
        command, cwd=checkout, env=cluster.environment(), capture_output=True, text=True, timeout=GIVE_UP_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours = open_run(tmp_path / "run")
    local = tokenize(corpus, tmp_path / "local", model="demo", device="cpu", reconstruct=False, quiet=True)
    assert {recording.id for recording in ours} == {recording.id for recording in local}
    assert len(ours) == 8
    for recording in local:
        assert np.array_equal(ours[recording.id].codes, recording.codes)
    assert ours.failures()["id"].to_pylist() == local.failures()["id"].to_pylist() == ["broken.wav"]
    check_marks(marks_of(tmp_path / "marks"), cluster)


def test_a_driver_brings_its_code_and_names_its_model_by_path(
    cluster: Cluster, checkout: Path, corpus: Path, small_model: Path, tmp_path: Path
) -> None:
    with scraped(cluster) as exposed:
        done = direct(cluster, checkout, small_model, corpus, tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(open_run(tmp_path / "run")) == len(list((tmp_path / "run" / "wav").iterdir())) == 8
    check_marks(marks_of(tmp_path / "marks"), cluster)
    assert asked().keys() <= exposed


@contextlib.contextmanager
def scraped(cluster: Cluster) -> Iterator[set[str]]:
    """The names of voxmill's metrics that any node exposed while inside, as Prometheus would ask for them."""
    names: set[str] = set()
    stop = threading.Event()

    def scrape() -> None:
        while not stop.wait(0.2):
            for port in cluster.exports:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    names.update(re.findall(r"^(ray_voxmill_\w+)\{", answer.read().decode(), re.MULTILINE))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield names
    finally:
        stop.set()
        thread.join()


def direct(cluster: Cluster, code: Path, model: Path, corpus: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`tokenize` on a node of the cluster, with the code in `code`, in a folder that holds another `pipeline`."""
    folder = cluster.folder / "old"
    command = [sys.executable, "-P", "-m", "pipeline", "tokenize", str(corpus), "--out", str(out)]
    command += ["--model", os.path.relpath(model, folder)]
    return subprocess.run(
        [*command, *CONFIG, "--reconstruct"],
        cwd=folder,
        env=cluster.environment(PYTHONPATH=str(code), RAY_ADDRESS=cluster.address),
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
        check=False,
    )


def test_a_node_with_another_package_is_named_before_anything_is_read(
    cluster: Cluster, checkout: Path, corpus: Path, small_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "soxr-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: soxr\nVersion: 0.0.1\n")
    node = cluster.start("c", f"--address={cluster.address}", "--num-cpus=1", PYTHONPATH=str(other.parent))
    done = direct(cluster, checkout, small_model, corpus, tmp_path / "run")
    node.terminate()
    node.wait(GIVE_UP_S)
    assert done.returncode == 2
    said = "voxmill: start\nvoxmill: Not every node would run what this process runs: soxr "
    assert done.stderr.startswith(said)
    assert re.search(rf"is wanted, 0\.0\.1 is on {socket.gethostname()} \([0-9.]+, node \w+\)\. Install", done.stderr)
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "marks").iterdir())
