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

    def readinto(self, buffer: Any) -> int:
        if self.error is not None:
            return 0
        try:
            self._stream.seek(self._position)
            data = self._stream.read(len(buffer))
        except Exception as error:  # whatever a filesystem raises: its cause is reported by who looks at `error`
            self.error = error
            return 0
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def fileno(self) -> int:
        return self._stream.fileno()
