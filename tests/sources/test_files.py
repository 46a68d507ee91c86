"""Plain files -> recordings: small remote ones are on their way before they are asked for."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import UnreadableAudio
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import task_of
from pipeline.sources.task import InputRecording
from pipeline.storage import opening

NAMES = ["a.wav", "gone.wav", "b.wav", "c.wav"]


@contextmanager
def server(together: int) -> Iterator[tuple[str, list[int]]]:
    """A web server that answers only once `together` requests wait, with their paths; it has no "gone.wav".

    Yields its address, and how many it worked on at the time of each.
    """
    barrier, seen, active = threading.Barrier(together, timeout=10), list[int](), list[str]()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            active.append(self.path)
            barrier.wait()
            time.sleep(0.01)
            seen.append(len(active))
            active.remove(self.path)
            self.send_response(404 if "gone" in self.path else 200)
            self.send_header("Content-Length", str(len(self.path)))
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{web.server_address[1]}", seen
    web.shutdown()
    web.server_close()


def in_one_task(base: str, tmp_path: Path, seconds: float | None = None) -> Iterator[InputRecording]:
    rows = ({"audio": f"{base}/{name}", "duration": seconds} for name in NAMES)
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    inputs = discover_all([str(tmp_path / "m.jsonl")])
    return recordings(task_of(inputs, "files", inputs.found[0].units))


def test_small_files_of_a_server_are_fetched_together_and_once(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}
    with server(together=len(NAMES)) as (base, seen):
        for recording in in_one_task(base, tmp_path):
            if "gone" in recording.name:
                with pytest.raises(UnreadableAudio, match=r"gone\.wav: no such file"), recording.open():
                    pass
                continue
            for _ in range(2):
                with recording.open() as file:
                    found[recording.name] = file.read()
    assert found == {name: f"/{name}".encode() for name in NAMES if "gone" not in name}
    assert len(seen) == len(NAMES)


@pytest.mark.parametrize("told", [True, False])
def test_large_files_are_fetched_when_they_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(opening, "AHEAD_BYTES", 2)
    with server(together=1) as (base, seen):
        found = list(in_one_task(base, tmp_path, seconds=3600.0 if told else None))
        assert len(seen) == (0 if told else len(NAMES))  # a look at its size
        with found[0].open() as file:
            assert file.read() == b"/a.wav"
    assert len(seen) == (1 if told else len(NAMES) + 1)
