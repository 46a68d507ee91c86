"""A web server on loopback that misbehaves on request: silent, cut off, busy, changed."""

import http.server
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

Behave = Callable[[str, int], str]
"""The path and the number of times that it was asked for before -> what happens:

"ok"; "hang": no answer; "stall": half of the body, then silence; "drip": half, then a byte every 20 ms; "cut": half,
then the connection ends; "drop": the connection ends at once; "changed": other bytes under another ETag; or a status
such as "503", "429:7" (Retry-After: 7).
"""


@dataclass
class Flaky:
    """A server that runs. `asked` has (path, Range header or None) for each request, in order."""

    address: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)


@contextmanager
def flaky(content: Mapping[str, bytes], behave: Behave, *, ranges: bool = True, port: int = 0) -> Iterator[Flaky]:
    """Serve `content`, bytes by path ("/a.wav"), until the context ends; requests that wait end with it."""
    over, counts = threading.Event(), Counter[str]()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.asked.append((path, self.headers.get("Range")))
            what = behave(path, counts[path])
            counts[path] += 1
            if what == "drop":
                self.cut()
            elif what == "hang":
                over.wait()
                self.close_connection = True
            elif what[0].isdigit():
                self.refuse(*what.split(":"))
            else:
                self.send(content[path] if what != "changed" else content[path][::-1], what)

        do_HEAD = do_GET  # noqa: N815 (http.server's name)

        def send(self, data: bytes, what: str) -> None:
            begin, end = 0, len(data)
            asked = self.headers.get("Range") if ranges else None
            if asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                begin, end = int(first), min(len(data), int(last or len(data)) + 1)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
            self.send_header("Content-Length", str(end - begin))
            self.send_header("ETag", f'"{what == "changed"}"')
            self.end_headers()
            if self.command == "HEAD":
                return
            half = what in ("stall", "drip", "cut")
            self.wfile.write(data[begin : begin + (end - begin) // 2] if half else data[begin:end])
            if what == "stall":
                over.wait()
            if what == "drip":
                for at in range(begin + (end - begin) // 2, end):
                    if over.wait(0.02):
                        break
                    self.wfile.write(data[at : at + 1])
            if half:
                self.cut()

        def refuse(self, status: str, retry_after: str = "") -> None:
            self.send_response(int(status))
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def cut(self) -> None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            pass  # a client that left

    with Server(("127.0.0.1", port), Handler) as threads:
        server = Flaky(f"http://127.0.0.1:{threads.server_address[1]}")
        threading.Thread(target=threads.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            over.set()
            threads.shutdown()


def first(*whats: str) -> Behave:
    """Each path: `whats` one after another, then "ok"."""
    return lambda path, number: whats[number] if number < len(whats) else "ok"


def always(what: str) -> Behave:
    """The same for every request."""
    return lambda path, number: what


def closed_port() -> int:
    """A free port on loopback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]
