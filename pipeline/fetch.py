"""A location (a local path or URI) -> an open binary file, to read at random or once from its beginning."""

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow.fs as pafs

from pipeline.errors import InputError, UnreadableAudio
from pipeline.files import BUFFER_BYTES, SCHEMES, is_local, local_location, local_path, locate, telling

SMALL_BYTES = 32 << 20
"""Remote files up to here are fetched whole, in one request: decoders seek. Larger ones are read by range."""
MAX_SPOOL_BYTES = 16 << 30
"""The most that is fetched whole where a server gives no ranges; above SMALL_BYTES into an unnamed temporary file."""


@contextmanager
def open_recording(location: str, schemes: tuple[str, ...] = SCHEMES) -> Iterator[str | BinaryIO]:
    """The path of a local file (it can be memory-mapped), or a seekable file. Raises UnreadableAudio."""
    try:
        with telling(location, UnreadableAudio):
            if not location:
                raise UnreadableAudio("this row of the manifest names no file")
            file = open_random(location, schemes)
    except InputError as e:
        raise UnreadableAudio(str(e)) from None
    with file:
        if is_local(location):
            path = local_path(location)
            yield path if path == local_location(path) else file  # decoders want names in UTF-8
        else:
            with telling(location, UnreadableAudio):
                yield file


def open_random(location: str, schemes: tuple[str, ...] = SCHEMES) -> BinaryIO:
    """A seekable binary file. Remote and small: fetched whole. Remote and large: read by range, buffered."""
    fs, path = locate(location, schemes)
    if isinstance(fs, pafs.LocalFileSystem):
        return _open_local(path)
    if isinstance(fs, pafs.PyFileSystem):
        return _open_fsspec(fs.handler.fs, path)
    raw = fs.open_input_file(path)
    if raw.size() <= SMALL_BYTES:
        with raw:
            return io.BytesIO(raw.read())
    return cast(BinaryIO, io.BufferedReader(raw, BUFFER_BYTES))


def open_stream(location: str, schemes: tuple[str, ...] = SCHEMES) -> BinaryIO:
    """A binary file read once from its beginning, in one request where the store can."""
    fs, path = locate(location, schemes)
    if isinstance(fs, pafs.LocalFileSystem):
        return _open_local(path)
    if isinstance(fs, pafs.PyFileSystem):
        return fs.handler.fs.open(path, "rb", block_size=0)
    return fs.open_input_stream(path, compression=None, buffer_size=BUFFER_BYTES)


def open_ranges(location: str, schemes: tuple[str, ...] = SCHEMES) -> Any:
    """What pyarrow.parquet reads from: only the ranges it asks for, where the store gives ranges."""
    fs, path = locate(location, schemes)
    if isinstance(fs, pafs.LocalFileSystem):
        return _open_local(path)
    if isinstance(fs, pafs.PyFileSystem):
        return _open_fsspec(fs.handler.fs, path)
    return fs.open_input_file(path)


def _open_local(path: str) -> BinaryIO:
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise OSError("not a regular file")  # a named pipe would block for ever
    return open(path, "rb")


def _open_fsspec(fs: Any, path: str) -> BinaryIO:
    """A server that ignores ranges (Python's own http.server does) answers a read far into the file with the start."""
    size = fs.info(path).get("size")
    if size is not None and size > SMALL_BYTES:
        file = fs.open(path, "rb", block_size=BUFFER_BYTES)
        try:
            file.seek(size - 1)
            if len(file.read(1)) == 1:
                file.seek(0)
                return file
        except ValueError:  # what fsspec raises for a server without ranges, before it reads the body
            file.close()
    with fs.open(path, "rb", block_size=0) as stream:
        return spool(stream)


def spool(stream: BinaryIO) -> BinaryIO:
    """The rest of `stream` as a seekable file: in memory up to SMALL_BYTES, then in an unnamed temporary file."""
    whole = tempfile.SpooledTemporaryFile(max_size=SMALL_BYTES)  # noqa: SIM115 (the caller closes it)
    while block := stream.read(1 << 20):
        whole.write(block)
        if whole.tell() > MAX_SPOOL_BYTES:
            whole.close()
            raise UnreadableAudio(f"more than {MAX_SPOOL_BYTES >> 30} GiB from a server that gives no byte ranges")
    whole.seek(0)
    return cast(BinaryIO, whole)


class Window(io.RawIOBase):
    """`size` bytes of `file` from `offset`, as a seekable file of their own. Closing it closes `file`."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self.file, self.offset, self.size, self.position = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = max(0, offset + (0, self.position, self.size)[whence])
        return self.position

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self.size - self.position))
        self.file.seek(self.offset + self.position)
        data = self.file.read(wanted)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()
