"""One writer per run: the lock of a live writer is respected, a stale one is taken over."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.errors import OutputError
from pipeline.run.layout import LOCK_FILE
from pipeline.run.lock import locked

LOCAL = LocalFileSystem()


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
    monkeypatch.setattr("pipeline.run.lock.BEAT_S", 0.05)
    monkeypatch.setattr("pipeline.run.lock.WATCH_S", 1.0)
    name = socket.gethostname()
    with locked(LOCAL, run), monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: f"not-{name}")
        with pytest.raises(OutputError, match=f"on {name}.*is writing this run"), locked(LOCAL, run):
            pass
    Path(run).mkdir()
    Path(run, LOCK_FILE).write_text('{"host": "gone", "pid": 1, "boot": "x", "beat": 3}')
    with locked(LOCAL, run):
        assert str(os.getpid()) in Path(run, LOCK_FILE).read_text()
