"""`voxmill show` of a run that is being written, that its writer left, or that a killed writer left."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.run import claims, live
from pipeline.run.layout import parts
from pipeline.run.live import look, open_any
from pipeline.run.lock import locked
from pipeline.run.process import this_process
from pipeline.run.resume import RUNNING
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from pipeline.schema import SKIP
from tests.helpers.commands import voxmill
from tests.helpers.rooms import ROOT
from tests.helpers.rows import coded_row, failed_row, run_record

LOCAL = LocalFileSystem()


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Ten recordings of a second each in two parts a minute apart, a failure and a skip, of 20 in all."""
    out = str(tmp_path / "run")
    skipped = failed_row("short", "Skipped")
    skipped = skipped.set_column(skipped.schema.get_field_index("stage"), "stage", pa.array([SKIP]))
    for number in range(2):
        rows = [coded_row(f"{number}-{row}", 24_000) for row in range(5)]
        write_parts(pa.concat_tables([*rows, *([failed_row("bad"), skipped] if number else [])]), LOCAL, out)
    for number, path in enumerate(parts(LOCAL, out, "codes")):
        os.utime(path, (1_800_000_000 + 60 * number,) * 2)
    for folder in ("failures", "skipped"):
        os.utime(parts(LOCAL, out, folder)[0], (1_800_000_000,) * 2)
    save(LOCAL, out, run_record(state="running") | {RUNNING: {"started": "2026-01-01T00:00:00", "recordings": 20}})
    return out


def shown(capsys: pytest.CaptureFixture[str], run: str) -> dict:
    assert voxmill("show", run, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_running_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(os.listdir(run))
    with locked(LOCAL, run):
        found = shown(capsys, run)
        assert found["state"] == "running"
        assert found["writer"] == str(this_process())
        assert (found["recordings"], found["failures"], found["skipped"], found["of"]) == (10, 1, 1, 20)
        assert found["last_commit"] == "2027-01-15T08:01:00+00:00"
        assert found["times_real_time"] == round(5 / 60, 2)
        assert voxmill("show", run) == 0
        printed = capsys.readouterr().out
        assert f"running: {this_process()} writes it" in printed
        assert "12 of 20: 10 recordings, 1 failure, 1 skipped" in printed
        assert f"{found['times_real_time']:.1f}x real time lately" in printed
        second = parts(LOCAL, run, "codes")[1]
        table = pq.read_table(second, partitioning=None)
        started = table.set_column(table.schema.get_field_index("chunks"), "chunks", pa.array([2] * 5, pa.int32()))
        pq.write_table(started, second)  # of longer recordings, of which none is complete
        os.utime(second, (1_800_000_060,) * 2)
        assert voxmill("show", run) == 0
        assert re.search("rate +not known yet\n", capsys.readouterr().out)
        Path(second).unlink()
        assert voxmill("show", run) == 0
        assert re.search("rate +not known yet\n", capsys.readouterr().out)
    assert sorted(os.listdir(run)) == before


def test_a_run_that_has_only_a_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(LOCAL, str(tmp_path / "run")):
        assert shown(capsys, str(tmp_path / "run"))["state"] == "running"
    assert voxmill("show", tmp_path / "run") == 2


def test_a_run_that_was_stopped(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, run)["state"] == "stopped"
    save(LOCAL, run, run_record(state="limited", limit=3))
    assert shown(capsys, run)["state"] == "limited"
    save(LOCAL, run, run_record(state="complete"))
    assert shown(capsys, run)["state"] == "complete"


@contextmanager
def writer(run: str) -> Iterator[subprocess.Popen]:
    """Another process that writes the run."""
    code = (
        "import sys, time; from pyarrow.fs import LocalFileSystem; from pipeline.run.lock import locked\n"
        "with locked(LocalFileSystem(), sys.argv[1]): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, run], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_run_whose_writer_was_killed(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    with writer(run) as process:
        assert f"process {process.pid}" in shown(capsys, run)["writer"]
        process.kill()
        process.wait()
        found = shown(capsys, run)
        assert found["state"] == "crashed"
        assert f"process {process.pid}" in found["writer"]
        assert voxmill("show", run) == 0
        assert "is gone; the same command (without --overwrite) goes on" in capsys.readouterr().out


def test_a_writer_on_another_machine(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WATCH_S", 1.5)
    monkeypatch.setattr(claims, "WATCH_S", 1.5)
    path = f"{run}/.lock.0123"
    elsewhere = this_process().json() | {"boot": "another", "host": "far"}
    Path(path).write_text(json.dumps(elsewhere))
    over = threading.Event()

    def beat() -> None:
        number = 0
        while not over.wait(0.05):
            Path(path + claims.BEAT).write_text(json.dumps({"beat": (number := number + 1), "writes": True}))

    thread = threading.Thread(target=beat)
    thread.start()
    found = look(open_any(run))
    over.set()
    thread.join()
    assert found is not None
    assert (found.state, found.writer) == ("running", f"process {os.getpid()} on far")
    start = time.monotonic()
    found = look(open_any(run))
    assert found is not None
    assert found.state == "crashed"
    assert time.monotonic() - start < 20
