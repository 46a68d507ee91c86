"""Something asked of a server -> its answer, after a bounded number of tries with growing pauses between them.

Only what may be gone a moment later is tried again: silence, a broken connection, a busy server. A server that failed
every try of several files in a row is taken for dead by this process: the next files are asked for once, briefly, until
one of them is fetched.
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
"""HTTP's answers that are worth another try."""
FIRST_PAUSE_S = 1.0
"""Before the first retry; every other pause is twice the one before, so 5 retries outlast half a minute."""
MAX_PAUSE_S = 60.0
"""Also where a busy server asks for more (Retry-After)."""
DEAD_AFTER = 3
"""Files in a row that a server failed until it is taken for dead: one may be what breaks it, three are not."""
DEAD_TIMEOUT_S = 5.0
"""How long a dead server may stay silent: a million of its files must not wait for a million full timeouts."""
GOES_ON_BYTES = 64 << 10
"""What a file must give after a broken connection to get all its tries again: a long one may break many times."""

T = TypeVar("T")


class Unreachable(OSError):
    """All tries failed; the message counts them and tells the last one's reason."""


class Health:
    """What this process knows of a server."""

    def __init__(self) -> None:
        self.failed_in_a_row = 0  # files

    @property
    def dead(self) -> bool:
        return self.failed_in_a_row >= DEAD_AFTER


@lru_cache(maxsize=1024)
def health(server: str) -> Health:
    """One `Health` for every server (host:port) in this process."""
    return Health()


class Retries:
    """The tries of one file. `failure` pauses before the next one, or gives up."""

    def __init__(self, server: str, access: Access) -> None:
        self.health = health(server)
        self.dead_after = self.health.failed_in_a_row if self.health.dead else 0
        self.retries = 0 if self.health.dead else access.retries
        self.timeout_s = min(access.timeout_s, DEAD_TIMEOUT_S) if self.health.dead else access.timeout_s
        self.failures, self.bytes, self.started, self.gave_up = 0, 0, time.monotonic(), False

    def failure(self, error: Exception) -> None:
        """Return after a pause where another try is left. Raises Unreachable, or `error` where no retry would help."""
        if not is_transient(error):
            self.done()
            raise error
        self.failures, self.bytes = self.failures + 1, 0
        if self.failures > self.retries:
            self.gave_up = True
            if _status(error) != 429:  # which is said by a server that lives, and wants to be asked less
                self.health.failed_in_a_row += 1
            raise Unreachable(self._story(error)) from error
        time.sleep(pause_s(self.failures, error))

    def progress(self, count: int) -> None:
        """`count` new bytes came."""
        self.bytes += count
        if self.bytes >= GOES_ON_BYTES:
            self.failures = 0

    def done(self) -> None:
        """Success, or an error that a retry cannot cure."""
        if not self.gave_up:
            self.health.failed_in_a_row = 0

    def _story(self, error: Exception) -> str:
        last = f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, TimeoutError):
            last = f"silent for {self.timeout_s:g} s"
        elif _status(error) is not None:
            last = f"HTTP {_status(error)} {getattr(error, 'message', '')}".rstrip()
        count = f"{self.failures} {'tries' if self.failures > 1 else 'try'} in {time.monotonic() - self.started:.0f} s"
        dead = f"; its server failed the {self.dead_after} files before too, so it was asked once"
        return f"{count}, the last one: {last}{dead if self.dead_after else ''}"


def with_retries(ask: Callable[[], T], server: str, access: Access) -> T:
    """What `ask` returns, asked again after transient errors. Raises Unreachable, or what no retry would mend."""
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
    """Seconds until the next try: twice as long each time, a quarter more or less, or what the server asks for."""
    try:
        asked = float((getattr(error, "headers", None) or {}).get("Retry-After", 0))
    except ValueError:  # a date: few servers send one, and clocks differ
        asked = 0.0
    # Any number of workers may have been cut off at once: they should not come back at once.
    return min(MAX_PAUSE_S, max(asked, FIRST_PAUSE_S * 2 ** (failures - 1) * random.uniform(0.75, 1.25)))


def is_transient(error: BaseException) -> bool:
    """True for what may be gone a moment later."""
    if _status(error) is not None:
        return _status(error) in BUSY
    cause = getattr(error, "os_error", error)  # aiohttp's errors of connecting hold the system's
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN  # others: no such host
    if isinstance(error, ssl.SSLError):
        return False  # a certificate stays as it is
    return isinstance(error, (TimeoutError, ConnectionError, *_broken_connections()))


def _status(error: BaseException) -> int | None:
    """HTTP's, of aiohttp's and of requests' errors."""
    return getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)


def client_errors() -> tuple[type[Exception], ...]:
    """What reading over a network raises. aiohttp's own are no OSErrors; it is loaded only where a URL was opened."""
    aiohttp = sys.modules.get("aiohttp")
    return (OSError, aiohttp.ClientError) if aiohttp else (OSError,)


def _broken_connections() -> tuple[type[Exception], ...]:
    """aiohttp's (http) and requests' (hf) names for a connection that was refused, lost or ended early."""
    aiohttp, requests = sys.modules.get("aiohttp"), sys.modules.get("requests.exceptions")
    return (
        *((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) if aiohttp else ()),
        *((requests.ConnectionError, requests.Timeout, requests.ChunkedEncodingError) if requests else ()),
    )
