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
from pipeline.sources import files
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import discover_all
from pipeline.sources.plan import task_of
from pipeline.sources.task import InputRecording

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


def in_one_task(base: str, tmp_path: Path) -> Iterator[InputRecording]:
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"audio": f"{base}/{name}"}) for name in NAMES))
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


def test_files_that_would_fill_the_memory_are_fetched_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "AHEAD_BYTES", 1)
    with server(together=1) as (base, seen):
        assert len(list(in_one_task(base, tmp_path))) == len(NAMES)
    assert seen == [1] * len(NAMES)
