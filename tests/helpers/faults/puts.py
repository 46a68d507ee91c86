"""Puts to an object store that end at a random byte: by Ctrl-C, SIGKILL, an exception, a part that is refused."""

import contextlib
import functools
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pyarrow.fs import FileType

from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate
from tests.helpers.faults.corpus import Corpus, Trial
from tests.helpers.faults.putter import PIECE, content
from tests.helpers.s3 import s3_server

KINDS = ("interrupt", "interrupt early", "kill", "raise", "refuse")
"""When a byte passes the network, while pyarrow is given the content, and so on."""
SIGNALS = {"interrupt": signal.SIGINT, "kill": signal.SIGKILL}
HAND_OVER_S_A_BYTE = 3e-9
"""About what giving content to pyarrow takes, which sends it in the background."""
SIZES = (200_000, 9_000_000, 12_600_000, 25_200_000)
"""Of one part of an upload, of several."""
OLD = b"what was there before"


def put_interrupted(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """The object is there whole or not at all; where one was there before, it is the old one or the new one, whole."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # the server finds requests that break off worth a page
    trials, seen = [], Counter[str]()
    with s3_server("bucket", {}) as endpoint:
        for number in range(times):
            size = int(random.choice(SIZES))
            found = _one(endpoint, number, size, random)
            seen[found] += 1
            trials.append(Trial(problems=[f"{size} bytes, {found}"] if "torn" in found else []))
    print(dict(sorted(seen.items())), file=sys.stderr)
    return trials


def _one(endpoint: str, number: int, size: int, random: np.random.Generator) -> str:
    """What is there after one put; an object of that name was there before every second time."""
    kind, share = KINDS[number % len(KINDS)], random.uniform()
    at = round(share * size)
    fs, path = locate(uri(endpoint, f"out/{number}"))
    if number // len(KINDS) % 2:
        write_whole(fs, path, lambda file: file.write(OLD))
    with faulty(endpoint, at if kind in ("interrupt", "kill", "refuse") else 2 * size, kind == "refuse") as way:
        source_breaks = at if kind == "raise" else -1
        interrupt_s = share * HAND_OVER_S_A_BYTE * size if kind == "interrupt early" else -1
        given = map(str, (uri(way.endpoint, f"out/{number}"), size, source_breaks, interrupt_s))
        command = [sys.executable, "-m", "tests.helpers.faults.putter", *given]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            if kind in ("interrupt", "kill"):
                way.act = functools.partial(process.send_signal, SIGNALS[kind])
            process.wait(120)
    return f"{kind}: {state(fs, path, size)}"


def state(fs: object, path: str, size: int) -> str:
    """whole, absent, old, or torn with its size."""
    if fs.get_file_info(path).type == FileType.NotFound:
        return "absent"
    with fs.open_input_stream(path) as file:
        found = file.read()
    return {OLD: "old", content(size): "whole"}.get(found, f"torn, {len(found)} bytes")


def uri(endpoint: str, key: str) -> str:
    """Of an object in the bucket."""
    return f"s3://k:s@bucket/{key}?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"


class Way:
    """A way to a server: its own endpoint, and what happens when so many bytes have gone to the server."""

    def __init__(self, at: int, refuse: bool) -> None:
        self.at, self.refuse = at, refuse
        self.act: Callable[[], object] = lambda: None
        self.bytes, self.counting, self.acted = 0, threading.Lock(), False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "{}:{}".format(*self.listener.getsockname())

    def serve(self, server: tuple[str, int]) -> None:
        """Forward every connection, until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                upstream = socket.create_connection(server)
                for pair in ((client, upstream, True), (upstream, client, False)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while block := source.recv(PIECE):
                if to_server and self._refused(block):
                    target.shutdown(socket.SHUT_RDWR)
                    source.shutdown(socket.SHUT_RDWR)
                    break
                target.sendall(block)

    def _refused(self, block: bytes) -> bool:
        """Count; from byte `at` on, parts of an upload are refused, while its completion would still come through."""
        with self.counting:
            self.bytes += len(block)
            over, first = self.bytes > self.at, not self.acted
            self.acted = self.acted or over
        if over and first:
            self.act()
        return over and self.refuse and (first or b"partNumber=" in block[:2000])


@contextlib.contextmanager
def faulty(endpoint: str, at: int, refuse: bool = False) -> Iterator[Way]:
    """A `Way` to `endpoint`."""
    way = Way(at, refuse)
    host, port = endpoint.split(":")
    threading.Thread(target=way.serve, args=((host, int(port)),), daemon=True).start()
    try:
        yield way
    finally:
        way.listener.close()
