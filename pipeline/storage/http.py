"""A URL -> a seekable file that survives broken connections: it reconnects and continues at its position."""

import io
import math
import re
import time
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from actors.watchdog import beat
from pipeline.storage.access import Access
from pipeline.storage.location import check_scheme
from pipeline.storage.network_retry import Retries, TooSlow, client_errors

READ_BYTES = 1 << 20
"""Bytes per read of a response when the caller gives no size."""

SLOW_S, SLOW_BYTES = 60.0, 60_000
"""A server that gives fewer bytes in so many seconds of waiting for it counts as silent: a recording of an hour would
take a day. Each byte alone keeps a time-out of silence from ending."""

MAX_REDIRECTS = 10
"""Of one request; aiohttp's own limit."""

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HttpFile(io.RawIOBase):
    """The content of `url`, read-only and seekable. Opening it requests the whole content, in one request.

    With `in_pieces`, every later read is a separate request for only the bytes it needs. Raises FileNotFoundError,
    network_retry.Unreachable, OSError if the content changed between two requests, aiohttp's errors for other answers.
    """

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self.in_pieces = False
        self.size: int | None = None  # bytes; None: the server does not report it
        self.version: str | None = None
        self.ranges = True  # until an answer shows that the server does not support byte ranges
        self.position = 0
        self._client = http_client()
        self._schemes = access.schemes
        self._response: Any = None
        self._to_skip = 0  # bytes of the response before `position`, not read yet
        self._response_end: float = 0  # position where the response ends
        self._waited_s, self._came = 0.0, 0  # seconds of waiting for bytes, and the bytes that came in them
        self._retries = Retries(urlsplit(url).netloc.rpartition("@")[2], access)
        self._with_retries(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self.size is None:
            raise io.UnsupportedOperation("the server does not say how long the file is")
        position = max(0, offset + (0, self.position, self.size or 0)[whence])
        if position != self.position:
            self._close_response()
        self.position = position
        return position

    def readinto(self, buffer: Any) -> int:
        if self.size is not None and self.position >= self.size:
            return 0
        data = self._with_retries(len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        beat()
        if self.ranges:  # without ranges every retry starts at byte 0, so their number must stay bounded
            self._retries.progress(len(data))
        return len(data)

    def readall(self) -> bytes:
        """Larger reads than the 8 KiB of io.RawIOBase.readall."""
        return b"".join(iter(partial(self.read, READ_BYTES), b""))

    def close(self) -> None:
        if not self.closed and hasattr(self, "_retries"):  # what was never opened is closed too, by IOBase
            self._close_response()
            self._retries.done()
        super().close()

    def gives_ranges(self) -> bool:
        """Whether the server supports byte ranges: request the last byte. Python's http.server sends the whole file."""
        self.seek((self.size or 1) - 1)
        self.in_pieces = True
        self._with_retries(1)
        self.seek(0)
        self.in_pieces = self.ranges
        return self.ranges

    def _with_retries(self, wanted: int) -> bytes:
        """At most `wanted` bytes from `position` on, empty at the end of the file; 0: only wait for an answer."""
        while True:
            try:
                if self._response is None or self.position >= self._response_end:
                    self._request(wanted)
                return self._read_response(wanted) if wanted else b""
            except client_errors() as error:
                self._close_response()
                self._retries.failure(error)

    def _request(self, wanted: int) -> None:
        """Request the bytes from `position` on."""
        import aiohttp
        from fsspec.asyn import sync

        self._close_response()
        self._waited_s, self._came = 0.0, 0
        headers = {"Accept-Encoding": "identity"}  # byte ranges must refer to the uncompressed content
        if self.ranges and (self.position or self.in_pieces):
            end = self.position + wanted - 1 if self.in_pieces and wanted else ""
            headers["Range"] = f"bytes={self.position}-{end}"
        silence_s = self._retries.timeout_s
        timeout = aiohttp.ClientTimeout(total=None, connect=silence_s, sock_connect=silence_s, sock_read=silence_s)
        url = asked = self._client.encode_url(self.url)
        session = sync(self._client.loop, self._client.set_session)
        get = partial(session.get, headers=headers, timeout=timeout, allow_redirects=False)
        for _ in range(MAX_REDIRECTS):
            self._response = sync(self._client.loop, partial(get, url))
            target = self._response.headers.get("Location")
            if self._response.status not in (301, 302, 303, 307, 308) or target is None:
                break
            url = self._response.url.join(self._client.encode_url(target))
            check_scheme(str(url), self._schemes)  # before it is asked for
            if url.origin() == asked.origin() and url.user is None:  # as browsers and curl do; never to another host
                url = url.with_user(asked.user).with_password(asked.password)
            if self._response.url.scheme == "https" and url.scheme == "http":
                raise OSError(f"redirected from https to http ({url.host}): what comes could be anybody's")
            self._close_response()
        else:
            raise OSError(f"more than {MAX_REDIRECTS} redirects")
        if self._response.status in (404, 410):
            raise FileNotFoundError(self.url)
        self._response.raise_for_status()
        self._parse_headers(self._response.status, self._response.headers)

    def _parse_headers(self, status: int, headers: Any) -> None:
        """Store where the response begins and ends; raise OSError if the content is not the same any more."""
        size, begin, encoded = None, 0, headers.get("Content-Encoding", "identity") not in ("", "identity")
        self.ranges = self.ranges and not encoded
        if status == 206:
            found = _RANGE.match(headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.position:
                raise OSError(f"asked for bytes from {self.position}, got {headers.get('Content-Range')!r}")
            begin, size = self.position, None if found[3] == "*" else int(found[3])
            self._response_end = int(found[2]) + 1
        else:
            size = int(headers["Content-Length"]) if "Content-Length" in headers and not encoded else None
            self._response_end = math.inf if size is None else size
            self.ranges = self.ranges and not (self.position or self.in_pieces)
        self._to_skip = self.position - begin
        tag = headers.get("ETag") or headers.get("Last-Modified")
        self._check_unchanged(size, tag and tag.removeprefix("W/"))

    def _check_unchanged(self, size: int | None, version: str | None) -> None:
        for before, now in ((self.size, size), (self.version, version)):
            if None not in (before, now) and before != now:
                raise OSError(f"it changed on its server while it was read: {before}, then {now} (size or version)")
        self.size = size if self.size is None else self.size
        self.version = self.version or version

    def _read_response(self, wanted: int) -> bytes:
        """At most `wanted` bytes of the response. Raises ConnectionError if it ends before the file does."""
        while self._to_skip:
            skipped = self._next(min(self._to_skip, READ_BYTES))
            if not skipped:
                break
            self._to_skip -= len(skipped)
        data = b"" if self._to_skip else self._next(wanted)
        if not data and (self._to_skip or self.position < (self.size or 0)):
            raise ConnectionError(f"the body ended before byte {self.position} of {self.size or '?'}")
        return data

    def _next(self, wanted: int) -> bytes:
        """At most `wanted` bytes that come next. Raises TooSlow where fewer than SLOW_BYTES came in SLOW_S, or in
        `input.timeout_s` where that is longer."""
        from fsspec.asyn import sync

        begun = time.monotonic()
        data = sync(self._client.loop, _read, self._response.content, wanted)
        self._waited_s, self._came = self._waited_s + time.monotonic() - begun, self._came + len(data)
        whole = not data or self.position + len(data) == self.size
        if not whole and self._waited_s > max(SLOW_S, self._retries.timeout_s):
            if self._came < SLOW_BYTES:
                raise TooSlow(f"{self._came} bytes in {self._waited_s:.0f} s")
            self._waited_s, self._came = 0.0, 0
        return bytes(data)

    def _close_response(self) -> None:
        if self._response is not None:
            self._client.loop.call_soon_threadsafe(self._response.close)
        self._response = None


async def _read(content: Any, wanted: int) -> bytes:
    """At most `wanted` bytes of an aiohttp.StreamReader, those that came before its connection broke too.

    `content.read` raises the error at once and drops what it holds: up to two reads, so a connection that breaks every
    few megabytes would make no progress where the reader is slow.
    """
    error = content.exception()
    if error is None:
        return await content.read(wanted)
    content.set_exception(None)
    received = content.read_nowait(wanted)
    content.set_exception(error)
    if not received:
        raise error
    return received


@lru_cache(maxsize=1)
def http_client() -> Any:
    """fsspec's HTTPFileSystem: one session, in the thread of its event loop; proxies come from the environment."""
    from fsspec.implementations.http import HTTPFileSystem

    return HTTPFileSystem(client_kwargs={"trust_env": True}, skip_instance_cache=True)
