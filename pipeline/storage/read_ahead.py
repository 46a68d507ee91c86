"""A file of a store, read once from its beginning: the next blocks are on their way while one is used."""

import functools
import io
from collections.abc import Generator
from typing import Any

import pyarrow as pa

from actors.watchdog import beat
from pipeline.storage.at_once import at_once

BLOCKS = 3
"""That wait. One request after the other would spend as long on the way as a block takes to come: at 50 ms and
100 MB/s, more than half of the time."""


class ReadAhead(io.RawIOBase):
    """The bytes of `file` in order, read-only. Who reads only the first block makes only one request."""

    def __init__(self, file: pa.NativeFile, block_bytes: int) -> None:
        self.file, self.block_bytes = file, block_bytes
        self._blocks = self._read()
        self._left = memoryview(b"")

    def _read(self) -> Generator[bytes, None, None]:
        read = functools.partial(self.file.read_at, self.block_bytes)
        places = iter(range(0, self.file.size(), self.block_bytes))
        for first in places:
            yield read(first)
            break
        yield from at_once(read, places, BLOCKS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._blocks, b""))
            beat()
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._blocks.close()
            self.file.close()
        super().close()
