"""A request to a server -> its answer, with a bounded number of retries and growing pauses between them.

Only transient errors are retried: silence, a broken connection, a busy server. A server that failed every try of
several files in a row counts as dead in this process: each further file gets one try with a short time-out, until one
of them succeeds.
"""

import random
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from pipeline.storage.access import Access

BUSY = frozenset({429, 500, 502, 503, 504})
"""HTTP status codes that are retried."""
FIRST_PAUSE_S = 1.0
"""Before the first retry; each further pause is twice as long, so 5 retries take half a minute."""
MAX_PAUSE_S = 60.0
"""Longest pause, also if a busy server asks for a longer one (Retry-After)."""
DEAD_AFTER = 3
"""Failed files in a row after which a server counts as dead: a single file may be the cause, three are not."""
DEAD_TIMEOUT_S = 5.0
"""Time-out for a dead server: a million of its files must not wait for a million full time-outs."""
GOES_ON_BYTES = 64 << 10
"""Bytes after a reconnection that reset the count of tries: the connection of a long file may break many times."""

T = TypeVar("T")


class Unreachable(OSError):
    """All tries failed; the message states their number and the last error."""


class TooSlow(TimeoutError):
    """A server that gives bytes, but hardly any. The message states how many."""


class Health:
    """Consecutive failures of a server, as seen by this process."""

    def __init__(self) -> None:
        self.failed_in_a_row = 0  # files

    @property
    def dead(self) -> bool:
        return self.failed_in_a_row >= DEAD_AFTER


@lru_cache(maxsize=1024)
def health(server: str) -> Health:
    """The `Health` of a server (host:port) in this process."""
    return Health()


class Retries:
    """The tries of one file."""

    def __init__(self, server: str, access: Access) -> None:
        self.health = health(server)
        self.dead_after = self.health.failed_in_a_row if self.health.dead else 0
        self.retries = 0 if self.health.dead else access.retries
        self.timeout_s = min(access.timeout_s, DEAD_TIMEOUT_S) if self.health.dead else access.timeout_s
        self.failures, self.bytes, self.started, self.gave_up = 0, 0, time.monotonic(), False

    def failure(self, error: Exception) -> None:
        """Pause before the next try. Raises Unreachable if none is left, `error` if it is not transient."""
        if not is_transient(error):
            self.done()
            raise error
        self.failures, self.bytes = self.failures + 1, 0
        if self.failures > self.retries:
            self.gave_up = True
            if _status(error) != 429:  # too many requests: the server is alive
                self.health.failed_in_a_row += 1
            raise Unreachable(self._story(error)) from error
        time.sleep(pause_s(self.failures, error))

    def progress(self, count: int) -> None:
        """`count` new bytes were read."""
        self.bytes += count
        if self.bytes >= GOES_ON_BYTES:
            self.failures = 0

    def done(self) -> None:
        """Success, or an error that a retry cannot cure."""
        if not self.gave_up:
            self.health.failed_in_a_row = 0

    def _story(self, error: Exception) -> str:
        last = f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, TimeoutError) and not isinstance(error, TooSlow):
            last = f"silent for {self.timeout_s:g} s"
        elif _status(error) is not None:
            last = f"HTTP {_status(error)} {getattr(error, 'message', '')}".rstrip()
        count = f"{self.failures} {'tries' if self.failures > 1 else 'try'} in {time.monotonic() - self.started:.0f} s"
        dead = f"; its server failed the {self.dead_after} files before too, so it was asked once"
        return f"{count}, the last one: {last}{dead if self.dead_after else ''}"


def with_retries(ask: Callable[[], T], server: str, access: Access) -> T:
    """The result of `ask`, which is retried after transient errors. Raises Unreachable, or an error that is not
    transient."""
    retries = Retries(server, access)
    while True:
        try:
            answer = ask()
        except client_errors() as error:
            retries.failure(error)
        else:
            retries.done()
            return answer


def pause_s(failures: int, error: Exception) -> float:
    """Seconds until the next try: doubled each time, with 25 % of jitter, or more if the server asks for it."""
    try:
        asked = float((getattr(error, "headers", None) or {}).get("Retry-After", 0))
    except ValueError:  # a date: few servers send one, and clocks differ
        asked = 0.0
    # Jitter: many workers may have been disconnected at the same time, and should not reconnect at the same time.
    return min(MAX_PAUSE_S, max(asked, FIRST_PAUSE_S * 2 ** (failures - 1) * random.uniform(0.75, 1.25)))


def is_transient(error: BaseException) -> bool:
    """True for errors that a retry may cure."""
    if _status(error) is not None:
        return _status(error) in BUSY
    cause = getattr(error, "os_error", error)  # aiohttp's connection errors wrap the system's
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN  # others: no such host
    if isinstance(error, ssl.SSLError):
        return False  # an invalid certificate stays invalid
    return isinstance(error, (TimeoutError, ConnectionError, *_broken_connections()))


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error of aiohttp or requests."""
    return getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)


def client_errors() -> tuple[type[Exception], ...]:
    """Errors of reading over a network. aiohttp's own are not OSErrors; it is imported only after a URL was opened."""
    aiohttp = sys.modules.get("aiohttp")
    return (OSError, aiohttp.ClientError) if aiohttp else (OSError,)


def _broken_connections() -> tuple[type[Exception], ...]:
    """aiohttp's (http) and requests' (hf) names for a connection that was refused, lost or ended early."""
    aiohttp, requests = sys.modules.get("aiohttp"), sys.modules.get("requests.exceptions")
    return (
        *((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) if aiohttp else ()),
        *((requests.ConnectionError, requests.Timeout, requests.ChunkedEncodingError) if requests else ()),
    )
