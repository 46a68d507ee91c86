"""A compressed tar, as its bytes come -> the plain tar, in flat memory, and no more of it than its size can explain."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa

from pipeline.errors import UnsupportedAudio
from pipeline.storage.translate import reason

FREE_BYTES = 1 << 30
"""Unpacked bytes that need no explanation: an hour and a half of digital silence is a WAV of this size."""
MAX_RATIO = 100
"""Unpacked bytes for each packed one beyond FREE_BYTES. Speech packs to a half; only silence packs better than this."""
XZ_MEMORY_BYTES = 256 << 20
"""Of a dictionary: `xz -9` takes 64 MiB, a hostile file asks for 4 GiB."""
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What the decompressors raise; those of `_Packed` come through them as they are."""


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class _Packed(io.RawIOBase):
    """The compressed stream: counts its bytes, and remembers that it failed itself."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.bytes, self.failed = stream, 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.stream.read(len(buffer))
        except BaseException:
            self.failed = True
            raise
        buffer[: len(data)] = data
        self.bytes += len(data)
        return len(data)


class _Xz:
    """One xz stream after another; Python's own reader has no limit of memory."""

    def __init__(self, packed: BinaryIO) -> None:
        self.packed, self.rest, self.stream = packed, b"", _xz_stream()

    def read(self, size: int, /) -> bytes:
        while True:
            if self.stream.eof:
                self.rest, self.stream = self.stream.unused_data or self.packed.read(1 << 16), _xz_stream()
                if not self.rest:
                    return b""
            elif self.stream.needs_input and not self.rest:
                self.rest = self.packed.read(1 << 16)
                if not self.rest:
                    raise EOFError("it ends inside an xz stream")
            data, self.rest = self.stream.decompress(self.rest, size), b""
            if data:
                return data


def _xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


def _zstd(packed: BinaryIO) -> _Reads:
    return pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd")


_READERS: dict[str, Callable[[BinaryIO], _Reads]] = {
    ".gz": lambda packed: gzip.GzipFile(fileobj=packed),
    ".tgz": lambda packed: gzip.GzipFile(fileobj=packed),
    ".bz2": bz2.BZ2File,
    ".xz": _Xz,
    ".zst": _zstd,
}
SUFFIXES = tuple(_READERS)
"""Of the last part of a name, in lower case."""


class Unpacked:
    """`stream`, compressed as the end of `name` says, for reading forward.

    `read` raises UnsupportedAudio beyond the bound, tarfile.ReadError for damage, and what `stream` raises.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name, self.bytes, self.packed = name, 0, _Packed(stream)
        reader = next(reader for suffix, reader in _READERS.items() if name.lower().endswith(suffix))
        self.plain = reader(cast(BinaryIO, self.packed))

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        try:
            data = self.plain.read(size)
        except _DAMAGE as e:
            if self.packed.failed:
                raise
            raise tarfile.ReadError(f"cannot be unpacked: {reason(e)}") from None
        self.bytes += len(data)
        refuse_bomb(self.name, self.bytes, self.packed.bytes)
        return data


def refuse_bomb(name: str, unpacked: int, packed: int) -> None:
    """Raise UnsupportedAudio where `packed` bytes cannot honestly become `unpacked` ones."""
    if unpacked > FREE_BYTES + MAX_RATIO * packed:
        raise UnsupportedAudio(
            f"{name}: {packed} bytes unpack to {unpacked} or more; the limit is {MAX_RATIO} for each byte, and"
            f" {FREE_BYTES >> 30} GiB. If this is audio, archive it uncompressed"
        )
