"""One writer a run, on a disk and on an object store: a live one is respected, a dead one is replaced, by one only."""

import json
import os
import pickle
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from pipeline.errors import ClusterError, OutputError
from pipeline.run import claims, lock, process
from pipeline.run.claims import put_claim
from pipeline.run.layout import LOCK_FILE, RUN_FILE
from pipeline.run.lock import locked
from pipeline.run.process import Process, lives, this_process
from pipeline.run.resume import refuse_other_contents, refuse_unshared
from pipeline.run.write import write_parts
from pipeline.run.write_waves import write_waves
from pipeline.storage.filesystem import locate
from tests.helpers.rows import coded_row, wave_row
from tests.helpers.s3 import s3_server

LOCAL = LocalFileSystem()
Place = tuple[FileSystem, str]
UNSHARE = ["unshare", "-pf", "--mount-proc"] if os.geteuid() == 0 else ["unshare", "-Urpf", "--mount-proc"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    monkeypatch.setattr(claims, "WATCH_S", 0.6)
    monkeypatch.setattr(lock, "POLL_S", 0.02)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3_server("bucket", {}) as endpoint:
        yield endpoint.replace(":", "%3A")


@pytest.fixture(params=["disk", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, store: str) -> Place:
    """Where a run may be."""
    if request.param == "disk":
        return LOCAL, str(tmp_path / "run")
    return locate(f"s3://k:s@bucket/{tmp_path.name}/run?endpoint_override=http%3A%2F%2F{store}")


def left(place: Place) -> list[str]:
    """Files of a run."""
    fs, run = place
    found = fs.get_file_info(FileSelector(run, allow_not_found=True, recursive=True))
    return sorted(info.base_name for info in found if info.type == FileType.File)


def claim_of(place: Place, process: Process, name: str = ".lock." + "0" * 32) -> str:
    """Leave a claim of `process`, which never beats."""
    fs, run = place
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "this_process", lambda: process)
        put_claim(fs, f"{run}/{name}")
    return f"{run}/{name}"


def ended() -> Process:
    """A process of this machine that is over."""
    with subprocess.Popen(["sleep", "60"]) as other:
        one = replace(this_process(), pid=other.pid, start=Path(f"/proc/{other.pid}/stat").read_text().split()[21])
        other.kill()
    return one


def test_nothing_is_left_behind(place: Place) -> None:
    with locked(*place) as held:
        held.check()
        claim = held.path.rpartition("/")[2]
        time.sleep(0.2)
        written = [name for name in left(place) if not name.endswith(".part")]  # a beat may be on its way
        assert written == [claim, f"{claim}.beat"]
    assert left(place) == []
    assert not os.path.exists(place[1])


def test_a_living_writer_is_respected(place: Place) -> None:
    with (
        locked(*place),
        pytest.raises(OutputError, match=rf"process {os.getpid()} on .*delete .*\.lock\."),
        locked(*place),
    ):
        pass
    with locked(*place):  # it was refused, and left nothing
        pass


def test_a_dead_writer_is_replaced_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "WATCH_S", 60.0)
    stale = claim_of(place, ended())
    with locked(*place) as held:
        assert stale.rpartition("/")[2] not in left(place)
        held.check()


@pytest.mark.parametrize("change", [{"boot": "other"}, {"space": "other"}, {"start": ""}, {"boot": "", "space": ""}])
def test_a_process_elsewhere_is_watched_even_if_host_and_number_are_equal(
    tmp_path: Path, change: dict[str, str]
) -> None:
    place: Place = (LOCAL, str(tmp_path / "run"))
    elsewhere = replace(ended(), **change)
    assert lives(elsewhere) is None
    started = time.monotonic()
    claim_of(place, elsewhere)
    with locked(*place):  # its heart does not beat
        assert time.monotonic() - started > 0.6
    elsewhere = replace(this_process(), **change)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "this_process", lambda: elsewhere)
        other = locked(*place)
        other.__enter__()
    with pytest.raises(OutputError, match=f"process {elsewhere.pid} on {elsewhere.host}"), locked(*place):
        pass
    other.__exit__(None, None, None)


def test_a_number_that_is_used_again_is_another_process() -> None:
    mine = this_process()
    assert lives(mine)
    assert lives(replace(mine, start="1")) is False
    assert lives(replace(mine, pid=2**22 + 1)) is False
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    start = Path(f"/proc/{zombie.pid}/stat").read_text().split()[21]
    assert lives(replace(mine, pid=zombie.pid, start=start)) is False
    zombie.wait()


def test_a_process_that_proc_hides_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = this_process()
    monkeypatch.setattr(process, "_state_and_start", lambda pid: (" ", ""))  # mounted with hidepid=2
    assert lives(mine) is None


def test_two_containers_of_one_host_both_have_a_first_process(tmp_path: Path) -> None:
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of process numbers can be made by this user")
    code = (
        "import os, sys; from pyarrow.fs import LocalFileSystem; from pipeline.run import claims; claims.BEAT_S = 0.05;"
        "from pipeline.run.lock import locked; assert os.getpid() == 1\n"
        "with locked(LocalFileSystem(), sys.argv[1]): print('in', flush=True); sys.stdin.read()"
    )
    command = [*UNSHARE, sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "in\n"
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert "OutputError: Another voxmill (process 1 on" in second.stderr
        first.stdin.close()
    assert first.returncode == 0


def test_one_of_many_gets_in(place: Place) -> None:
    for dead in (True, False, True):
        if dead:
            claim_of(place, ended())
        together, over = threading.Barrier(4), threading.Barrier(4)

        def start(together: threading.Barrier = together, over: threading.Barrier = over) -> bool:
            together.wait()
            try:
                with locked(*place):
                    over.wait(20)
            except OutputError:
                over.wait(20)
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sorted(one.result() for one in [pool.submit(start) for _ in range(4)]) == [False, False, False, True]
        assert left(place) == []


def test_a_writer_that_was_taken_for_dead_stops_and_leaves_the_others_lock(place: Place) -> None:
    first_time, second_time = locked(*place), locked(*place)
    first = first_time.__enter__()
    place[0].delete_file(first.path)  # by somebody who found it stale
    second = second_time.__enter__()
    time.sleep(0.2)
    assert first.path.rpartition("/")[2] not in left(place)  # its heart does not bring it back
    with pytest.raises(OutputError, match=rf"Another voxmill \(process {os.getpid()} on .*took this run over"):
        first.check()
    first_time.__exit__(None, None, None)
    second.check()
    second_time.__exit__(None, None, None)
    assert left(place) == []


def test_a_suspended_writer_finds_that_it_was_replaced(tmp_path: Path) -> None:
    """SIGSTOP, and a judge who cannot look it up; then it goes on."""
    run = tmp_path / "run"
    code = (
        "import sys; from pyarrow.fs import LocalFileSystem; from pipeline.run import claims; claims.BEAT_S = 0.05;"
        "from pipeline.run.lock import locked\n"
        "with locked(LocalFileSystem(), sys.argv[1]) as lock: print('in', flush=True); sys.stdin.read(); lock.check()"
    )
    command = [sys.executable, "-c", code, str(run)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as other:
        assert other.stdout.readline() == "in\n"
        os.kill(other.pid, signal.SIGSTOP)
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr(claims, "lives", lambda process: None)
            with locked(LOCAL, str(run)) as mine:
                os.kill(other.pid, signal.SIGCONT)
                said = other.communicate("")[1]
                mine.check()
    assert other.returncode == 1
    assert f"OutputError: Another voxmill (process {os.getpid()} on" in said
    assert not run.exists()


def test_workers_of_a_writer_that_is_over_commit_nothing(place: Place) -> None:
    fs, run = place
    with locked(*place) as held:
        check = pickle.loads(pickle.dumps(held)).check  # in a worker
        write_parts(coded_row("a", 1920), fs, run, check)
        write_waves(wave_row("a", [0] * 4), fs, f"{run}/wav", check)
    before = left(place)
    assert len(before) == 2
    with pytest.raises(OutputError, match="commits nothing more"):
        write_parts(coded_row("b", 1920), fs, run, check)
    with pytest.raises(OutputError, match="commits nothing more"):
        write_waves(wave_row("b", [0] * 4), fs, f"{run}/wav", check)
    assert left(place) == before


def test_a_wait_for_another_machine_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a process there only its silence tells that it is gone."""
    place = LOCAL, str(tmp_path)
    claim_of(place, Process("far", 7, "another boot", "s", "1"), ".lock." + "0" * 32)
    with pytest.MonkeyPatch.context() as patch:
        for module in (lock, claims):
            patch.setattr(module, "WATCH_S", 0.3)
        with locked(*place):
            pass
    said = "voxmill: process 7 on far has a claim on this folder; watching for 0.3 s whether it lives\n"
    assert capsys.readouterr().err == said


def test_two_that_wait_for_each_other_do_not_wait_for_ever(tmp_path: Path) -> None:
    """A living process that only wants the run, and is stopped: as it has the higher nonce, it should give up."""
    place = LOCAL, str(tmp_path)
    claim_of(place, this_process(), ".lock." + "f" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "WATCH_S", 0.1)
        with pytest.raises(OutputError, match="is writing to this folder"), locked(*place):
            pass


def test_a_lock_of_an_earlier_version(tmp_path: Path) -> None:
    """`.lock` itself: its heartbeat is its content."""
    old = tmp_path / ".lock"
    record = {"host": "h", "pid": 1, "boot": this_process().boot, "beat": 0}
    old.write_text(json.dumps(record))
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.05):
            record["beat"] += 1
            (tmp_path / "new").write_text(json.dumps(record))
            os.replace(tmp_path / "new", old)

    heart = threading.Thread(target=beat)
    heart.start()
    with pytest.raises(OutputError, match="process 1 on h"), locked(LOCAL, str(tmp_path)):
        pass
    over.set()
    heart.join()
    with locked(LOCAL, str(tmp_path)):
        assert not old.exists()


def test_heartbeats_that_a_killed_process_left_are_swept(place: Place) -> None:
    fs, run = place
    fs.create_dir(run, recursive=True)
    with fs.open_output_stream(f"{run}/.lock.{'0' * 32}.beat") as file:
        file.write(b"{}")
    with locked(*place):
        pass
    assert left(place) == []


def test_a_folder_that_another_writer_removes_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that ends removes the run's folder where it is empty."""
    times, make = [], os.makedirs

    def made_and_removed(path: str, exist_ok: bool) -> None:
        make(path, exist_ok=exist_ok)
        if not times:
            os.rmdir(path)
        times.append(path)

    monkeypatch.setattr(os, "makedirs", made_and_removed)
    with locked(LOCAL, str(tmp_path / "run")) as held:
        held.check()
    assert len(times) > 1


def test_a_run_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"), locked(LOCAL, str(tmp_path / "file")):
        pass
    with pytest.raises(OutputError, match="cannot be written"), locked(LOCAL, str(tmp_path / "file" / "run")):
        pass


def test_what_a_killed_writer_left_of_its_claims_keeps_no_run_from_beginning(tmp_path: Path) -> None:
    for name in (f"{LOCK_FILE}.{'a' * 32}", f".{'b' * 32}.part"):
        (tmp_path / name).touch()
    refuse_other_contents(LocalFileSystem(), str(tmp_path))
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match="is not empty and holds no run"):
        refuse_other_contents(LocalFileSystem(), str(tmp_path))


def test_a_node_that_does_not_see_the_run_is_named(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).touch()
    refuse_unshared(str(tmp_path), str(tmp_path / RUN_FILE))
    (tmp_path / RUN_FILE).unlink()
    with pytest.raises(ClusterError, match=rf"Node {platform.node()} does not see the folder {tmp_path}, .*give --out"):
        refuse_unshared(str(tmp_path), str(tmp_path / RUN_FILE))
