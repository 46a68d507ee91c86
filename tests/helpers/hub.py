"""A server on loopback that speaks as much of the Hugging Face hub's API as its own file system client asks for."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

REPO, REVISION = "org/corpus", "v1"


@dataclass
class Hub:
    """The server that runs. `files` of the one data set may change; `gated`: they are listed but not given."""

    address: str
    files: dict[str, bytes]
    gated: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Range header)


@contextmanager
def hub(files: Mapping[str, bytes]) -> Iterator[Hub]:
    """Serve the data set REPO at REVISION until the context ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            state.asked.append((path, self.headers.get("Range")))
            for begin, answer in ANSWERS.items():
                if path.startswith(begin):
                    answer(self, path[len(begin) :].strip("/"))
                    return
            known = f"/{REPO}" in path
            self.error(404 if known else 401, "RevisionNotFound" if known else "RepoNotFound")

        do_HEAD = do_GET  # noqa: N815 (http.server's name)

        def revision(self, _: str) -> None:
            self.send(json.dumps({"id": REPO, "sha": "0" * 40, "siblings": []}).encode())

        def tree(self, below: str) -> None:
            prefix, found = f"{below}/" if below else "", dict[str, dict[str, object]]()
            for name, content in state.files.items():
                if not name.startswith(prefix):
                    continue
                parts = name[len(prefix) :].split("/")
                for depth in range(1, len(parts)):
                    folder = prefix + "/".join(parts[:depth])
                    if depth == 1 or "recursive=True" in self.path:
                        found[folder] = {"type": "directory", "path": folder, "oid": "0"}
                if len(parts) == 1 or "recursive=True" in self.path:
                    oid = hashlib.sha1(content).hexdigest()
                    found[name] = {"type": "file", "path": name, "oid": oid, "size": len(content)}
            if found:
                self.send(json.dumps(list(found.values())).encode())
            else:
                self.error(404, "EntryNotFound")

        def resolve(self, name: str) -> None:
            if state.gated:
                self.error(403, "GatedRepo")
            elif name not in state.files:
                self.error(404, "EntryNotFound")
            else:
                self.send(state.files[name])

        def send(self, data: bytes) -> None:
            begin, end, asked = 0, len(data), self.headers.get("Range")
            if asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(len(data), int(last or len(data)) + 1)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            self.wfile.write(data[begin:end])

        def error(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ANSWERS = {  # noqa: N806 (a constant of this server)
        f"/api/datasets/{REPO}/revision/{REVISION}": Handler.revision,
        f"/api/datasets/{REPO}/tree/{REVISION}": Handler.tree,
        f"/datasets/{REPO}/resolve/{REVISION}/": Handler.resolve,
    }
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state = Hub(f"http://127.0.0.1:{server.server_port}", dict(files))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()
