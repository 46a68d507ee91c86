"""Inputs over the network: a real S3 endpoint, HTTP servers with and without ranges, all on loopback."""

import functools
import http.server
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import InputError, UnreadableAudio
from pipeline.sources.formats import recordings
from pipeline.sources.plan import plan
from pipeline.storage import network_retry, opening
from pipeline.storage.filesystem import look_up
from pipeline.storage.opening import open_random, open_recording
from tests.helpers.s3 import s3_server
from tests.helpers.shards import cells, content, contents, read, write_files, write_parquet, write_tar

BIG = os.urandom(300_000)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_retry, "FIRST_PAUSE_S", 0.001)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, manifests and shards that each server serves."""
    folder = tmp_path_factory.mktemp("corpus")
    audio = {"a/x 1.wav": b"X1", "a/odd?#%25.wav": b"ODD", "a/.hidden.wav": b"-", "b/y.flac": b"Y", "big.wav": BIG}
    write_files(folder, audio | {"b/n.txt": b"-"})
    rows = [{"path": "a/x 1.wav", "n": 1}, {"path": "a/odd?#%25.wav", "n": 2}, {"path": "b/gone.wav", "n": 3}]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "m.csv").write_text("path,n\nb/../b/y.flac,1\n")
    write_tar(folder / "s.tar", [("t1.wav", b"T1"), ("t1.json", b"{}"), ("t2.wav", BIG), ("t3.wav", b"T3")])
    write_tar(folder / "s.tar.gz", [("g1.wav", b"G1"), ("g2.wav", BIG)], "w:gz")
    write_parquet(folder / "s.parquet", [{"bytes": b"%d" % i + BIG, "path": f"p{i}.wav"} for i in range(4)], rows=2)
    return folder


@pytest.fixture(scope="module")
def s3(files: Path) -> Iterator[str]:
    """host:port of an S3 endpoint with the bucket "speech", the files below "corpus/"."""
    below = {f"corpus/{path.relative_to(files)}": path.read_bytes() for path in files.rglob("*") if path.is_file()}
    with s3_server("speech", below) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bucket's URI; the environment names the endpoint, as on a cluster."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return "s3://speech/corpus"


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Python's own handler with byte ranges, as every large server has; counts what it sends."""

    sent = 0

    def do_GET(self) -> None:
        begin, _, end = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not begin:
            return super().do_GET()
        raw = Path(self.translate_path(self.path)).read_bytes()
        part = raw[int(begin) : int(end) + 1 if end else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{int(begin) + len(part) - 1}/{len(raw)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)
        Ranges.sent += len(part)
        return None

    def log_message(self, *args: object) -> None:
        pass


class Plain(http.server.SimpleHTTPRequestHandler):
    """Python's own handler: no ranges."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(files: Path) -> Iterator[Callable[[type[http.server.SimpleHTTPRequestHandler]], str]]:
    """Starts a server of `files`; gives its address."""
    servers = []

    def start(handler: type[http.server.SimpleHTTPRequestHandler]) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(files)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_s3_folder_equals_the_local_one(bucket: str, files: Path) -> None:
    remote, local = plan([bucket], parallelism=4), plan([str(files)], parallelism=4)
    assert contents(remote) == contents(local)
    assert (remote.passed_over, remote.recordings) == (local.passed_over, local.recordings)
    assert remote.carried == local.carried
    sources = {item.id: item.source for item in read(remote)}
    assert sources["a/x 1.wav"] == "s3://speech/corpus/a/x 1.wav"
    assert sources["s.tar/t1.wav"] == "s3://speech/corpus/s.tar::t1.wav"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/*.flac", ["b/y.flac"]),
        ("a/*", ["x 1.wav", "odd%3F%23%2525.wav"]),
        ("**/y*", ["b/y.flac"]),
        ("[b]", ["b/y.flac"]),
    ],
)
def test_s3_globs(bucket: str, pattern: str, expected: list[str]) -> None:
    found = [item.id for item in read(plan([f"{bucket}/{pattern}"]))]
    assert sorted(found) == sorted(id.replace("%3F%23%25", "?#%") for id in expected)


def test_the_endpoint_and_credentials_in_the_uri(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    uri = f"s3://key:secret@speech/corpus/m.jsonl?endpoint_override={s3}&scheme=http"
    planned = plan([uri])
    found = contents(planned)
    assert list(found.values())[:2] == [b"X1", b"ODD"]
    assert found["b/gone.wav"] == "UnreadableAudio: s3://speech/corpus/b/gone.wav: no such file or folder"
    assert [cells(item) for item in read(planned)] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert "secret" not in "".join(item.source + item.id for item in read(planned))


@pytest.mark.parametrize("small", [32 << 20, 1000])
@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz", "s.parquet", "m.csv", "big.wav"])
@pytest.mark.parametrize("where", ["s3", "plain", "ranges"])
def test_everything_from_everywhere(
    where: str,
    name: str,
    small: int,
    files: Path,
    bucket: str,
    serve: Callable[[type[http.server.SimpleHTTPRequestHandler]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("storage.opening", "sources.tar"):
        monkeypatch.setattr(f"pipeline.{module}.SMALL_BYTES", small)
    base = bucket if where == "s3" else serve(Plain if where == "plain" else Ranges)
    remote, local = plan([f"{base}/{name}"], parallelism=4), plan([str(files / name)], parallelism=4)
    assert contents(remote) == contents(local)
    assert len(contents(local)) > 0
    done = pa.array([item.id for item in read(local)][:1])
    left = plan([f"{base}/{name}"], done=done)
    assert list(contents(left)) == [item.id for item in read(local)][1:]


@pytest.mark.parametrize("where", ["s3", "plain", "ranges"])
def test_a_large_remote_file_seeks(
    where: str,
    bucket: str,
    serve: Callable[[type[http.server.SimpleHTTPRequestHandler]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "SMALL_BYTES", 1000)
    monkeypatch.setattr(opening, "BUFFER_BYTES", 10_000)
    base = bucket if where == "s3" else serve(Plain if where == "plain" else Ranges)
    Ranges.sent = 0
    with open_random(f"{base}/big.wav") as file:
        assert file.seek(0, io.SEEK_END) == len(BIG)
        assert file.tell() == len(BIG)
        file.seek(200_000)
        assert file.read(500) == BIG[200_000:200_500]
        file.seek(-3, io.SEEK_END)
        assert file.read() == BIG[-3:]
        file.seek(0)
        assert file.read(4) == BIG[:4]
        buffer = bytearray(7)
        assert file.readinto(buffer) == 7
        assert bytes(buffer) == BIG[4:11]
    assert Ranges.sent < 100_000


def test_http_manifests_and_their_relative_paths(serve: Callable[..., str]) -> None:
    base = serve(Plain)
    found = contents(plan([f"{base}/m.jsonl?signature=secret"]))
    assert list(found.values())[:2] == [b"X1", b"ODD"]
    assert found["b/gone.wav"] == f"UnreadableAudio: {base}/b/gone.wav: no such file or folder"


def test_an_http_file_of_unknown_length(serve: Callable[..., str]) -> None:
    class Unsized(Plain):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(BIG)

        do_HEAD = do_GET  # noqa: N815 (http.server's name)

    assert contents(plan([f"{serve(Unsized)}/any.wav"])) == {"any.wav": BIG}


def test_http_says_what_the_server_answered(serve: Callable[..., str]) -> None:
    class Refuses(Plain):
        def do_GET(self) -> None:
            self.send_error(503)

        do_HEAD = do_GET  # noqa: N815

    base = serve(Refuses)
    with pytest.raises(
        InputError,
        match=r"a.wav: cannot be read \(Unreachable: 6 tries in \d s, the last one: HTTP 503 Service Unavailable\)",
    ):
        look_up(f"{base}/a.wav?key=secret")
    with pytest.raises(UnreadableAudio, match="503") as e, open_recording(f"{base}/a.wav?key=secret"):
        pass
    assert "secret" not in str(e.value)
    for folder in (f"{base}/*.wav".replace("http", "https"), base, f"{base}/", f"{base}/corpus/", f"{base}/?page=1"):
        with pytest.raises(InputError, match="http servers list no folders"):
            plan([folder])


def test_a_body_that_ends_early_is_a_failure(serve: Callable[..., str]) -> None:
    class Short(Plain):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 500)

    (item,) = read(plan([f"{serve(Short)}/b/y.flac"]))
    assert str(content(item)).startswith("UnreadableAudio")


def test_missing_s3_keys_and_buckets(bucket: str) -> None:
    for location in (f"{bucket}/gone", "s3://nowhere/gone.wav", f"{bucket}/gone/*.wav"):
        with pytest.raises(InputError, match=location.partition("*")[0].rstrip("/")):
            plan([location])


def test_planning_s3_shards_reads_footers_only(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan([f"{bucket}/s.parquet"], parallelism=4)
    assert [task.units["@row_group"].to_pylist() for task in planned.tasks] == [[0], [1]]
    assert [item.id for item in recordings(planned.tasks[1])] == ["p2.wav", "p3.wav"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("none.wav", "no such file"), ("", "a folder"), ("a\0b", "NUL"), ("pipe.wav", "not a regular file")],
)
def test_a_local_file_that_cannot_be_opened(tmp_path: Path, name: str, says: str) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UnreadableAudio, match=says), open_recording(f"{tmp_path}/{name}"):
        pass
