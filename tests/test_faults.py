"""What a run survives: killed drivers and actors, poison, other writers."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray.data
import soundfile
from pyarrow.fs import LocalFileSystem
from ray import cloudpickle
from rows import tone

from actors.codec import Codec
from actors.encode import EncodeChunks, codes_arrays
from actors.isolate import Ledger
from pipeline import open_run, tokenize
from pipeline.check import check
from pipeline.cluster import PoolPlan, RemoteLedger, data_context, keeper
from pipeline.errors import OutputError
from pipeline.lock import LOCK_FILE, locked
from pipeline.run_file import SUCCESS_FILE
from pipeline.schema import CHUNK_SCHEMA

LOCAL = LocalFileSystem()
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


class Poisoned:
    """The real codec, but a wave of exactly 7 samples ends its process, and each of `once` does so once."""

    def __init__(self, model: str, once: Path | None = None) -> None:
        self.codec = Codec.load(model, device="cpu", precision="fp32")
        self.once = once

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        if any(len(wave) == 7 for wave in waves):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.once is not None and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.codec.encode(waves)


def chunk_rows(lengths: list[int]) -> pa.Table:
    waves = [tone(length / 24_000, seed=length)[:length] for length in lengths]
    values = {
        "chunk": 0,
        "chunks": 1,
        "first_frame": 0,
        "context_samples": 0,
        "source_rate": 24_000,
        "source_channels": 1,
    }
    columns = [
        pa.array(waves, field.type)
        if field.name == "audio"
        else pa.array(
            [
                f"r{length}"
                if field.name == "id"
                else length
                if field.name == "num_samples"
                else values.get(field.name)
                for length in lengths
            ],
            field.type,
        )
        for field in CHUNK_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=CHUNK_SCHEMA)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("poison", [True, False])
def test_an_actor_that_dies_over_a_block(tmp_path: Path, small_model: Path, poison: bool) -> None:
    lengths = [24_000, 7, 30_000, 5_000] if poison else [24_000, 30_000, 5_000]
    model, mark = str(small_model), None if poison else tmp_path / "died"
    with data_context(1 << 22):
        rows = ray.data.from_arrow(chunk_rows(lengths)).map_batches(
            EncodeChunks,
            fn_constructor_kwargs={"load": lambda: Poisoned(model, mark), "attempts": RemoteLedger(keeper(Ledger))},
            batch_format="pyarrow",
            **PoolPlan(1, 1, 1, 0.0, 0.25, 1).arguments(),
        )
        table = pa.concat_tables(list(rows.iter_batches(batch_size=None, batch_format="pyarrow")))
    errors = dict(zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True))
    assert errors == {f"r{length}": "KillsItsActor" if length == 7 else None for length in lengths}
    codec = Codec.load(model, device="cpu", precision="fp32")
    for length, codes in zip(lengths, codes_arrays(table["codes"]), strict=True):
        if length != 7:
            assert codes is not None
            assert np.mean(codes == codec.encode([tone(length / 24_000, seed=length)[:length]])[0]) > 0.9999


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """A short path: Ray keeps sockets in it."""
    with tempfile.TemporaryDirectory(prefix="vx", ignore_cleanup_errors=True) as folder:
        yield folder


def test_a_killed_driver_loses_nothing(tmp_path: Path, small_model: Path, ray_folder: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(12):
        soundfile.write(corpus / f"{number:02d}.wav", tone(3.0, seed=number), 24_000)
    options = {"output.rows_per_part": 1, "chunk.block_mb": 0.1}
    code = f"""
import ray
from pipeline import tokenize

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir={ray_folder!r})
run = {str(tmp_path / "run")!r}
tokenize({str(corpus)!r}, run, model={str(small_model)!r}, reconstruct=False, quiet=True, settings={options})
"""
    kills = 0
    for part_count in (1, 5):
        driver = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        while driver.poll() is None and len(list((tmp_path / "run").glob("codes/part-*"))) < part_count:
            time.sleep(0.02)
        if driver.poll() is None:
            os.kill(driver.pid, signal.SIGKILL)
            kills += 1
        driver.wait()
        _end_session(driver.pid)
        assert not (tmp_path / "run" / SUCCESS_FILE).exists()
        assert len(open_run(tmp_path / "run")) >= part_count  # what is committed can be read
    assert kills == 2
    (tmp_path / "run" / "codes" / f".{'0' * 32}.part").write_bytes(b"torn")
    finished = subprocess.run([sys.executable, "-c", code], check=True)
    assert finished.returncode == 0
    run = open_run(tmp_path / "run")
    ids = run.table(["id"])["id"].to_pylist()
    assert sorted(ids) == [f"{number:02d}.wav" for number in range(12)]
    assert (tmp_path / "run" / SUCCESS_FILE).exists()
    assert sorted(path.name for path in (tmp_path / "run" / "codes").iterdir() if path.name.startswith(".")) == []
    assert check(tmp_path / "run", [str(corpus)]).problems == []
    codec = Codec.load(str(small_model), device="cpu", precision="fp32")
    for recording in run:
        wave, _ = soundfile.read(corpus / recording.id, dtype="float32")
        assert np.mean(recording.codes == codec.encode([wave])[0]) > 0.9999


def _end_session(pid: int) -> None:
    """Kill what a killed driver's Ray left, all of it in the driver's process session."""
    for _ in range(2):
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                session = int(status.read_text().rpartition(")")[2].split()[3])
                if session == pid:
                    os.kill(int(status.parent.name), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue


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
