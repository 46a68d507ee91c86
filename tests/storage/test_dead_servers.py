"""Dead, slow, busy and broken servers: what can be read is read; the rest fails in bounded time, with a reason."""

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from actors.codec import Codec
from pipeline import tokenize
from pipeline.errors import InputError, UnreadableAudio
from pipeline.sources.plan import plan
from pipeline.storage import http, network_retry, opening
from pipeline.storage.access import Access
from pipeline.storage.filesystem import locate, look_up
from pipeline.storage.network_retry import health, is_transient, pause_s
from pipeline.storage.opening import open_random, open_recording, open_stream
from tests.helpers.flaky import always, closed_port, first, flaky
from tests.helpers.rows import tone
from tests.helpers.shards import contents, write_parquet, write_tar

pytestmark = pytest.mark.slow

BODY = random.Random(0).randbytes(500_000)
QUICK = Access(timeout_s=0.5, retries=2)
"""Where a server is silent on purpose; short, so that the tests are."""
PATIENT = Access(timeout_s=20, retries=2)
"""Elsewhere: a machine that is busy with other things is no dead server."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses, and no server known to be dead."""
    monkeypatch.setattr(network_retry, "FIRST_PAUSE_S", 0.01)
    health.cache_clear()
    yield
    health.cache_clear()


@pytest.fixture
def by_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make half a megabyte be read like a file of gigabytes."""
    monkeypatch.setattr(opening, "SMALL_BYTES", 1000)
    monkeypatch.setattr(opening, "BUFFER_BYTES", 100_000)


def read_stream(url: str, access: Access) -> bytes:
    with open_stream(url, access) as file:
        return b"".join(iter(lambda: file.read(70_000), b""))


def read_recording(url: str, access: Access = PATIENT) -> bytes:
    with open_recording(url, access) as file:
        return file.read(10) + file.read()


def read_backwards(url: str, access: Access) -> bytes:
    with open_random(url, access) as file:
        pieces = []
        for begin in range(len(BODY) - 50_000, -1, -50_000):
            file.seek(begin)
            pieces.append(file.read(50_000))
    return b"".join(reversed(pieces))


FAULTS = [("stall",), ("cut", "cut"), ("hang",), ("503", "503"), ("429", "500"), ("drop", "504"), ("502", "cut")]


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("read", [read_stream, read_recording])
@pytest.mark.parametrize("faults", FAULTS, ids="-".join)
def test_what_breaks_goes_on(faults: tuple[str, ...], read: Callable[[str, Access], bytes], ranges: bool) -> None:
    silent = {"stall", "hang"} & set(faults)
    with flaky({"/a.wav": BODY}, first(*faults), ranges=ranges) as server:
        assert read(f"{server.address}/a.wav", QUICK if silent else PATIENT) == BODY
    assert server.count("/a.wav") == len(faults) + 1
    if "stall" in faults:  # the half that came is not asked for again
        assert server.asked[-1][1] == f"bytes={len(BODY) // 2}-"


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.usefixtures("by_range")
def test_a_large_file_is_read_from_a_server_that_often_breaks(ranges: bool) -> None:
    def behave(path: str, number: int) -> str:
        return ("ok", "ok", "cut", "503", "ok", "stall")[number % 6] if number < 12 else "ok"

    with flaky({"/a.wav": BODY}, behave, ranges=ranges) as server:
        assert read_backwards(f"{server.address}/a.wav", QUICK) == BODY


def test_a_server_that_is_away_for_a_moment() -> None:
    port = closed_port()

    @contextmanager
    def comes_back() -> Iterator[None]:
        over = threading.Event()

        def serve() -> None:
            time.sleep(0.3)
            with flaky({"/a.wav": BODY}, always("ok"), port=port):
                over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        over.set()
        thread.join()

    with comes_back(), open_stream(f"http://127.0.0.1:{port}/a.wav", Access(timeout_s=1, retries=7)) as file:
        assert file.read() == BODY


def test_nobody_there_is_an_error_that_counts_the_tries() -> None:
    url = f"http://me:secret@127.0.0.1:{closed_port()}/a.wav?key=secret"
    with (
        pytest.raises(
            UnreadableAudio, match=r"a.wav: cannot be read \(Unreachable: 3 tries in \d s, .*(?:refuse|Connect)"
        ) as e,
        open_recording(url, QUICK),
    ):
        pass
    assert "secret" not in str(e.value)


@pytest.mark.parametrize(
    ("what", "told"),
    [("hang", "silent for 0.5 s"), ("stall", "silent for 0.5 s"), ("cut", "Payload"), ("503", "HTTP 503")],
)
def test_tries_are_bounded(what: str, told: str) -> None:
    with (
        flaky({"/a.wav": b"x" * 1000}, always(what)) as server,
        pytest.raises(UnreadableAudio, match=rf"Unreachable: 3 tries in \d s, the last one: .*{told}"),
        open_recording(f"{server.address}/a.wav", QUICK),
    ):
        pass
    assert server.count("/a.wav") <= 3


def test_a_server_that_hardly_gives_anything_counts_as_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte ends a silence; an endless drip of them would hold a reader, and its run, for days."""
    monkeypatch.setattr(http, "SLOW_S", 0.3)
    with (
        flaky({"/a.wav": b"x" * 100_000}, always("drip")) as server,
        pytest.raises(UnreadableAudio, match=r"Unreachable: 3 tries in \d s, the last one: TooSlow: \d+ bytes in \d s"),
        open_recording(f"{server.address}/a.wav", QUICK),
    ):
        pass
    with flaky({"/a.wav": BODY}, first("drip")) as server:
        assert read_recording(f"{server.address}/a.wav", QUICK) == BODY


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "410", "501"])
def test_what_no_retry_mends_is_asked_for_once(status: str) -> None:
    with flaky({}, always(status)) as server:
        for read, error in ((look_up, InputError), (read_recording, UnreadableAudio)):
            server.asked.clear()
            with pytest.raises(error, match=rf"a.wav: (no such file|cannot be read .*{status})"):
                read(f"{server.address}/a.wav")
            assert server.count("/a.wav") == 1


def test_a_busy_server_says_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with flaky({"/a.wav": BODY}, first("429:0.4")) as server:
        began = time.monotonic()
        assert read_stream(f"{server.address}/a.wav", PATIENT) == BODY
        assert time.monotonic() - began >= 0.4
    monkeypatch.setattr(network_retry, "MAX_PAUSE_S", 0.05)
    with flaky({"/a.wav": BODY}, first("503:86400", "503:Wed, 21 Oct 2099 07:28:00 GMT", "ok")) as server:
        began = time.monotonic()
        assert read_stream(f"{server.address}/a.wav", PATIENT) == BODY
        assert time.monotonic() - began < 60


def test_pauses_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = [pause_s(failures, OSError()) for failures in range(1, 12)]
    assert all(0.75 * 2**i <= pause <= 1.25 * 2**i for i, pause in enumerate(pauses[:5]))
    assert pauses[-1] == network_retry.MAX_PAUSE_S


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_another_file_under_the_same_name_is_not_mixed_in(ranges: bool) -> None:
    with flaky({"/a.wav": BODY}, lambda path, number: "changed" if number else "cut", ranges=ranges) as server:
        with (
            pytest.raises(UnreadableAudio, match="changed on its server"),
            open_recording(f"{server.address}/a.wav", QUICK),
        ):
            pass
        assert server.count("/a.wav") == 2


def test_a_long_stream_may_break_more_often_than_there_are_retries() -> None:
    """Each request gives half of what is left. The tries run out once that is little."""
    once_again = Access(timeout_s=20, retries=1)
    with (
        flaky({"/a.tar": BODY * 16}, lambda path, number: "cut" if number < 4 else "ok") as server,
        open_stream(f"{server.address}/a.tar", once_again) as file,
    ):
        assert file.read() == BODY * 16
        begins = [4_000_000, 6_000_000, 7_000_000, 7_500_000]  # all that came was used
        assert server.asked == [("/a.tar", None), *(("/a.tar", f"bytes={begin}-") for begin in begins)]
    with flaky({"/a.tar": BODY * 16}, always("cut")) as server:
        with pytest.raises(OSError, match="2 tries"), open_stream(f"{server.address}/a.tar", once_again) as file:
            file.read()
        assert server.count("/a.tar") < 12


def test_a_dead_server_does_not_cost_every_recording_all_tries() -> None:
    urls = [f"/{number}.wav" for number in range(8)]
    alive = threading.Event()
    with flaky(dict.fromkeys(urls, BODY), lambda path, number: "ok" if alive.is_set() else "503") as server:
        said = []
        for url in urls[:6]:
            with pytest.raises(UnreadableAudio) as e, open_recording(server.address + url, PATIENT):
                pass
            said.append(str(e.value))
        assert [server.count(url) for url in urls[:6]] == [3, 3, 3, 1, 1, 1]
        assert ["asked once" in text for text in said] == [False] * 3 + [True] * 3
        assert re.search(r"1 try in \d s", said[3])
        assert "failed the 3 files before too" in said[3]
        alive.set()
        assert read_recording(server.address + urls[6]) == BODY
        alive.clear()
        with pytest.raises(UnreadableAudio, match="3 tries"), open_recording(server.address + urls[7], PATIENT):
            pass


def test_a_server_that_wants_to_be_asked_less_is_not_dead() -> None:
    with flaky({}, always("429")) as server:
        for number in range(5):
            with pytest.raises(UnreadableAudio, match=r"3 tries .*HTTP 429"):
                read_recording(f"{server.address}/{number}.wav")


def test_a_reader_that_takes_its_time_is_no_silent_server() -> None:
    """With a full pipeline, a stream is read after a pause that is longer than the time-out."""
    with flaky({"/a.tar": bytes(30 << 20)}, always("ok")) as server:
        with open_stream(f"{server.address}/a.tar", QUICK) as file:
            count = len(file.read(1 << 20))
            time.sleep(3 * QUICK.timeout_s)
            count += len(file.read())
        assert count == 30 << 20
        assert len(server.asked) == 1


def test_one_file_that_breaks_its_server_is_not_a_dead_server() -> None:
    content = {f"/{number}.wav": BODY for number in range(12)}
    with flaky(content, lambda path, number: "500" if int(path[1:-4]) % 3 else "ok") as server:
        for path in content:
            try:
                read_recording(server.address + path)
            except UnreadableAudio as e:
                assert "3 tries" in str(e)  # noqa: PT017 (some are read)
    assert len(server.asked) == 4 + 8 * 3


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize(
    ("name", "fault"), [("s.tar", "cut"), ("s.tar", "stall"), ("s.tar.gz", "cut"), ("s.parquet", "cut")]
)
def test_a_shard_over_a_connection_that_breaks(name: str, fault: str, ranges: bool, tmp_path: Path) -> None:
    """Two requests of three break in the middle: of looking it up, of the footer, of reading."""
    audio = {f"t{i}.wav": os.urandom(40_000) for i in range(9)}
    if name.endswith("parquet"):
        write_parquet(tmp_path / name, [{"bytes": data, "path": id} for id, data in audio.items()], rows=4)
    else:
        write_tar(tmp_path / name, list(audio.items()), "w:gz" if name.endswith("gz") else "w")
    shard = (tmp_path / name).read_bytes()
    access = QUICK if fault == "stall" else PATIENT
    with flaky({f"/{name}": shard}, lambda path, number: fault if number % 3 < 2 else "ok", ranges=ranges) as server:
        assert contents(plan([f"{server.address}/{name}"], access=access)) == audio


@pytest.mark.parametrize("what", ["503", "hang", "drop"])
def test_planning_survives_a_hiccup(what: str) -> None:
    manifest = b'{"path": "a.wav"}\n{"path": "b.wav"}\n'
    content = {"/m.jsonl": manifest, "/a.wav": b"A", "/b.wav": b"B"}
    with flaky(content, first(what)) as server:
        planned = plan([f"{server.address}/m.jsonl"], access=QUICK if what == "hang" else PATIENT)
        assert contents(planned) == {"a.wav": b"A", "b.wav": b"B"}


def test_planning_does_not_wait_for_ever() -> None:
    with (
        flaky({}, always("hang")) as server,
        pytest.raises(InputError, match=r"m.jsonl: cannot be read .*3 tries .*silent for"),
    ):
        plan([f"{server.address}/m.jsonl"], access=QUICK)
    assert server.count("/m.jsonl") <= 3


@pytest.mark.parametrize("faults", [("503", "503"), ("cut", "cut"), ("cut", "429", "500")], ids="-".join)
def test_the_s3_client_retries_by_itself(faults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    with flaky({"/speech/a.wav": BODY}, first(*faults)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        with open_stream("s3://speech/a.wav", QUICK) as file:
            assert file.read() == BODY
        assert locate("s3://speech/a.wav")[1] == "speech/a.wav"
    assert server.count("/speech/a.wav") > len(faults)


def test_a_host_name_that_does_not_exist_is_no_fault_of_the_moment() -> None:
    import socket

    assert not is_transient(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert is_transient(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))


def test_a_run_over_dead_servers_ends(tmp_path: Path, small_model: Path, runs_in_process: None) -> None:
    clips = {}
    for name in ("/a.wav", "/b.wav", "/c.wav"):
        soundfile.write(tmp_path / name[1:], tone(1.0, seed=len(clips)), 24_000)
        clips[name] = (tmp_path / name[1:]).read_bytes()
    with (
        flaky(clips, first("cut")) as good,
        flaky(clips, always("hang")) as silent,
        flaky(clips, always("stall")) as stalls,
    ):
        closed = f"http://127.0.0.1:{closed_port()}"
        paths = [f"{good.address}{name}" for name in clips]
        dead = [
            f"{server.replace('://', '://me:secret@')}/a.wav?key=secret"
            for server in (silent.address, stalls.address, closed)
        ]
        manifest = tmp_path / "m.jsonl"
        rows = [{"id": f"{number}", "path": path} for number, path in enumerate(paths + dead)]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        began = time.monotonic()
        run = tokenize(
            manifest,
            tmp_path / "run",
            model=str(small_model),
            reconstruct=False,
            quiet=True,
            settings={"input.timeout_s": 1.5, "input.retries": 1},
        )
        assert time.monotonic() - began < 60
    codec = Codec.load(str(small_model), device="cpu", precision="fp32")
    waves = [soundfile.read(tmp_path / name[1:], dtype="float32")[0] for name in clips]
    assert sorted(recording.id for recording in run) == ["0", "1", "2"]
    for number, codes in enumerate(codec.encode(waves)):
        assert np.mean(run[str(number)].codes == codes) > 0.999
    failures = run.failures().to_pylist()
    assert sorted(int(row["id"]) for row in failures) == [3, 4, 5]
    for row in failures:
        assert (row["error"], row["stage"]) == ("UnreadableAudio", "read")
        assert "2 tries" in row["message"]
        assert ("silent for 1.5 s" if row["id"] != "5" else "Connect") in row["message"]
        assert "secret" not in row["message"] + row["source"]
    assert (tmp_path / "run" / "_SUCCESS").exists()
