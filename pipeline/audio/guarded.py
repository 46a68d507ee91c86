"""A seekable stream -> a stream whose reading never raises: decoders in C cannot pass an exception on."""

import io
import os
from typing import Any, BinaryIO


class Guarded(io.RawIOBase):
    """A seekable stream of `size` bytes. A read that fails looks like the end of the file; its cause is in `error`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._position = stream, 0
        self.error: Exception | None = None
        self.size = 0
        try:
            self.size = stream.seek(0, os.SEEK_END) or stream.tell()
        except Exception as error:  # whatever a filesystem raises: its cause is reported by who looks at `error`
            self.error = error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self.size)[whence])
        return self._position

    def read(self, size: int = -1) -> bytes:
        """`size` bytes (all that are left if it is negative), fewer only at the end."""
        left = max(0, self.size - self._position)
        wanted, data = left if size < 0 else min(size, left), b""
        try:
            while self.error is None and len(data) < wanted:
                self._stream.seek(self._position)
                more = self._stream.read(wanted - len(data))
                if not more:
                    break
                data = data + more if data else more
                self._position += len(more)
        except Exception as error:  # whatever a filesystem raises: its cause is reported by who looks at `error`
            self.error = error
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def fileno(self) -> int:
        return self._stream.fileno()
