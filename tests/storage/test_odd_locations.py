"""Locations that no client can make sense of, and redirects: one error, never a traceback."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError, UnreadableAudio
from pipeline.sources.plan import plan
from pipeline.storage.access import Access
from pipeline.storage.filesystem import look_up
from pipeline.storage.opening import open_recording
from tests.helpers.shards import write_files

ONCE = Access(timeout_s=2, retries=0)
ODD = [
    "http://127.0.0.1:99999/x",
    "http://[::1/x",
    "http:///x",
    "http://127.0.0.1:x/y",
    "hf://datasets",
    "hf://",
    "s3://",
]


@pytest.mark.parametrize("location", ODD)
def test_an_odd_location_is_one_message(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnreadableAudio), open_recording(location, ONCE):
        pass
    with pytest.raises(InputError):
        plan([location], access=ONCE)
    write_files(tmp_path, {"good.wav": b"-"})
    (tmp_path / "m.csv").write_text(f"path\ngood.wav\n{location}\n")
    assert plan([str(tmp_path / "m.csv")], access=ONCE).recordings == 2


class Redirect(http.server.BaseHTTPRequestHandler):
    """/hop -> /file; /other -> another scheme; /loop -> itself."""

    def do_GET(self) -> None:
        target = {"/hop": "/file", "/other": "https://127.0.0.1:1/file", "/loop": "/loop"}.get(self.path)
        self.send_response(302 if target else 200)
        self.send_header(*(("Location", target) if target else ("Content-Length", "4")))
        self.end_headers()
        self.wfile.write(b"" if target else b"DATA")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_schemes_hold_for_the_target_of_a_redirect(server: str) -> None:
    access = Access(schemes=("http",), timeout_s=2, retries=0)
    with open_recording(f"{server}/hop", access) as file:
        assert file.read() == b"DATA"
    with pytest.raises(UnreadableAudio, match="'https' is not allowed"), open_recording(f"{server}/other", access):
        pass
    with pytest.raises(InputError, match="redirects"):
        look_up(f"{server}/loop", access)
