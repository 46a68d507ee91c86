"""A URL -> a file that survives broken connections: it goes on where it broke, at its position."""

import io
import math
import re
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

from pipeline.persist import Access, Tries, client_errors

READ_BYTES = 1 << 20
"""Asked of a response at a time where no one says how much is wanted."""

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HttpFile(io.RawIOBase):
    """The content of `url`, read-only and seekable. Opening it asks for all of it, in one request.

    `in_pieces` makes every later read a request of its own, for no more than it wants. Raises FileNotFoundError,
    persist.Unreachable, OSError where the content changed between two requests, and aiohttp's errors for other answers.
    """

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self.in_pieces = False
        self.size: int | None = None  # bytes; None: the server does not say
        self.version: str | None = None
        self.ranges = True  # until a server answers with something else
        self.position = 0
        self._client = http_client()
        self._response: Any = None
        self._skip = 0  # bytes of the response before `position`
        self._until: float = 0  # where the response ends
        self._tries = Tries(urlsplit(url).netloc.rpartition("@")[2], access)
        self._persist(0)

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
            self._drop()
        self.position = position
        return position

    def readinto(self, buffer: Any) -> int:
        if self.size is not None and self.position >= self.size:
            return 0
        data = self._persist(len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        if self.ranges:  # else each retry begins at the beginning, and there are only so many
            self._tries.went_on(len(data))
        return len(data)

    def readall(self) -> bytes:
        """Python's own would ask for 8 KiB at a time."""
        return b"".join(iter(partial(self.read, READ_BYTES), b""))

    def close(self) -> None:
        if not self.closed:
            self._drop()
            self._tries.finished()
        super().close()

    def gives_ranges(self) -> bool:
        """Ask for the last byte. Python's own http.server answers with all of the file."""
        self.seek((self.size or 1) - 1)
        self.in_pieces = True
        self._persist(1)
        self.seek(0)
        self.in_pieces = self.ranges
        return self.ranges

    def _persist(self, wanted: int) -> bytes:
        """At most `wanted` bytes from `position` on, none at the end; with 0, just an answer."""
        while True:
            try:
                if self._response is None or self.position >= self._until:
                    self._ask(wanted)
                return self._next(wanted) if wanted else b""
            except client_errors() as error:
                self._drop()
                self._tries.failed(error)

    def _ask(self, wanted: int) -> None:
        """A request for what follows `position`."""
        import aiohttp
        from fsspec.asyn import sync

        self._drop()
        headers = {"Accept-Encoding": "identity"}  # positions count the file's own bytes
        if self.ranges and (self.position or self.in_pieces):
            end = self.position + wanted - 1 if self.in_pieces and wanted else ""
            headers["Range"] = f"bytes={self.position}-{end}"
        silence_s = self._tries.timeout_s
        timeout = aiohttp.ClientTimeout(total=None, connect=silence_s, sock_connect=silence_s, sock_read=silence_s)
        url = self._client.encode_url(self.url)
        session = sync(self._client.loop, self._client.set_session)
        self._response = sync(self._client.loop, partial(session.get, url, headers=headers, timeout=timeout))
        if self._response.status in (404, 410):
            raise FileNotFoundError(self.url)
        self._response.raise_for_status()
        self._understand(self._response.status, self._response.headers)

    def _understand(self, status: int, headers: Any) -> None:
        """Where the response begins and ends, and whether it is still the same content."""
        size, begin, encoded = None, 0, headers.get("Content-Encoding", "identity") not in ("", "identity")
        self.ranges = self.ranges and not encoded
        if status == 206:
            found = _RANGE.match(headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.position:
                raise OSError(f"asked for bytes from {self.position}, got {headers.get('Content-Range')!r}")
            begin, size = self.position, None if found[3] == "*" else int(found[3])
            self._until = int(found[2]) + 1
        else:
            size = int(headers["Content-Length"]) if "Content-Length" in headers and not encoded else None
            self._until = math.inf if size is None else size
            self.ranges = self.ranges and not (self.position or self.in_pieces)
        self._skip = self.position - begin
        tag = headers.get("ETag") or headers.get("Last-Modified")
        self._refuse_change(size, tag and tag.removeprefix("W/"))

    def _refuse_change(self, size: int | None, version: str | None) -> None:
        for before, now in ((self.size, size), (self.version, version)):
            if None not in (before, now) and before != now:
                raise OSError(f"it changed on its server while it was read: {before}, then {now} (size or version)")
        self.size = size if self.size is None else self.size
        self.version = self.version or version

    def _next(self, wanted: int) -> bytes:
        """At most `wanted` bytes of the response. An end before the file's is a broken connection."""
        from fsspec.asyn import sync

        while self._skip:
            skipped = sync(self._client.loop, self._response.content.read, min(self._skip, READ_BYTES))
            if not skipped:
                break
            self._skip -= len(skipped)
        data = b"" if self._skip else sync(self._client.loop, self._response.content.read, wanted)
        if not data and (self._skip or self.position < (self.size or 0)):
            raise ConnectionError(f"the body ended before byte {self.position} of {self.size or '?'}")
        return data

    def _drop(self) -> None:
        if self._response is not None:
            self._client.loop.call_soon_threadsafe(self._response.close)
        self._response = None


@lru_cache(maxsize=1)
def http_client() -> Any:
    """fsspec's HTTPFileSystem: one session, in the thread of its event loop, with proxies from the environment."""
    from fsspec.implementations.http import HTTPFileSystem

    return HTTPFileSystem(client_kwargs={"trust_env": True}, skip_instance_cache=True)
