"""A location (a local path or URI) -> an open binary file, to read at random or once from its beginning.

Broken connections are mended below: http(s) by HttpFile. The clients of the other stores do it themselves. The AWS SDK
below pyarrow makes 31 tries of each request, 0.2 s apart, and takes 3 s of silence for a failure: 6 s until a refused
connection is an error, 100 s until a silent server is. Google's goes on for filesystem.GS_RETRY_S. huggingface_hub asks
for the bytes of a file 6 times, but only once where it looks a file up: that is what `with_retries` is for.
"""

import contextlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from actors.watchdog import beat
from pipeline.errors import InputError, UnreadableAudio
from pipeline.storage.access import DEFAULT, Access
from pipeline.storage.filesystem import BUFFER_BYTES, locate
from pipeline.storage.http import HttpFile
from pipeline.storage.location import is_http
from pipeline.storage.network_retry import with_retries
from pipeline.storage.read_ahead import ReadAhead
from pipeline.storage.stamp import UNKNOWN, Stamp
from pipeline.storage.translate import errors_as, opening_errors_as

SMALL_BYTES = 32 << 20
"""Remote files up to here are fetched whole, in one request: decoders seek. Larger ones are read by range."""
AHEAD_BYTES = BUFFER_BYTES
"""Files up to here are fetched before they are asked for, several at once: they come in about the time that their store
takes to answer. Larger ones would fill the memory."""
READ_THROUGH = (".ogg", ".oga", ".opus", ".spx")
"""Names of files that are fetched whole at any size: the pages of an Ogg are all checked before it is decoded."""
STREAM_BYTES = 1 << 20
"""Read of a remote stream at a time."""
MAX_SPOOL_BYTES = 16 << 30
"""The most that is fetched whole where a server gives no ranges; above SMALL_BYTES into an unnamed temporary file."""


@contextmanager
def open_recording(location: str, access: Access = DEFAULT) -> Iterator[BinaryIO]:
    """A seekable file; a local one is an `io.FileIO`, which can be memory-mapped. Raises UnreadableAudio."""
    try:
        with opening_errors_as(location, UnreadableAudio):
            if not location:
                raise UnreadableAudio("this row of the manifest names no file")
            fs, path = locate(location, access.schemes)
            local = isinstance(fs, pafs.LocalFileSystem)
            file = open_local(path, buffering=0) if local else open_random(location, access)
    except InputError as e:
        raise UnreadableAudio(str(e)) from None
    with file, contextlib.nullcontext() if local else errors_as(location, UnreadableAudio):
        yield file


def open_random(location: str, access: Access = DEFAULT) -> BinaryIO:
    """A seekable binary file. Remote and small, or READ_THROUGH: fetched whole. Others: read by range, buffered."""
    fs, path = locate(location, access.schemes)
    if is_http(location):
        return _open_http(location, access)
    if isinstance(fs, pafs.LocalFileSystem):
        return open_local(path)
    if isinstance(fs, pafs.PyFileSystem):
        return with_retries(lambda: _open_hub(fs.handler.fs, path), "hf", access)
    raw = fs.open_input_file(path)
    if raw.size() <= SMALL_BYTES or path.lower().endswith(READ_THROUGH):
        return _whole(raw)
    return cast(BinaryIO, Ranges(raw, _stamp(raw)))


def fetched(location: str, access: Access = DEFAULT) -> BinaryIO | None:
    """A file of at most AHEAD_BYTES of a store or a web server as `open_recording` gives it, but whole, and open until
    it is closed. None for all others: they are read when they are opened. Raises UnreadableAudio."""
    try:
        with opening_errors_as(location, UnreadableAudio):
            fs, path = locate(location, access.schemes)
            if is_http(location):
                with HttpFile(location, access) as file:
                    small = file.size is not None and file.size <= AHEAD_BYTES
                    return spool(cast(BinaryIO, file), Stamp(file.size, file.version)) if small else None
            if isinstance(fs, pafs.LocalFileSystem | pafs.PyFileSystem):
                return None
            raw = fs.open_input_file(path)
            return _whole(raw) if raw.size() <= AHEAD_BYTES else None
    except InputError as e:
        raise UnreadableAudio(str(e)) from None


def open_stream(location: str, access: Access = DEFAULT) -> BinaryIO:
    """A binary file read once from its beginning: over http in one request, from stores some blocks ahead."""
    fs, path = locate(location, access.schemes)
    if is_http(location):
        return cast(BinaryIO, io.BufferedReader(HttpFile(location, access), STREAM_BYTES))
    if isinstance(fs, pafs.LocalFileSystem):
        return open_local(path)
    if isinstance(fs, pafs.PyFileSystem):
        return with_retries(lambda: fs.handler.fs.open(path, "rb", block_size=0), "hf", access)
    return cast(BinaryIO, io.BufferedReader(ReadAhead(fs.open_input_file(path), BUFFER_BYTES), STREAM_BYTES))


def open_ranges(location: str, access: Access) -> Any:
    """What pyarrow.parquet reads from: only the ranges it asks for, where the store gives ranges."""
    fs, path = locate(location, access.schemes)
    if isinstance(fs, pafs.LocalFileSystem | pafs.PyFileSystem):
        return open_random(location, access)
    return fs.open_input_file(path)


def open_local(path: str, buffering: int = -1) -> BinaryIO:
    """A regular file of this machine, `buffering` as of `open`. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise OSError("not a regular file")  # a named pipe would block for ever
    return open(path, "rb", buffering=buffering)


def _open_http(url: str, access: Access) -> BinaryIO:
    """A large file of a server without ranges is fetched whole: a decoder that seeks would fetch it time and again."""
    file = HttpFile(url, access)
    large = file.size is not None and file.size > SMALL_BYTES
    if large and not urlsplit(url).path.lower().endswith(READ_THROUGH) and file.gives_ranges():
        return cast(BinaryIO, Ranges(file, Stamp(file.size, file.version)))
    with file:
        return spool(cast(BinaryIO, file), Stamp(file.size, file.version))


def _open_hub(fs: Any, path: str) -> BinaryIO:
    if (fs.info(path).get("size") or 0) > SMALL_BYTES and not path.lower().endswith(READ_THROUGH):
        return fs.open(path, "rb", block_size=BUFFER_BYTES)
    with fs.open(path, "rb", block_size=0) as stream:
        return spool(stream)


class Ranges(io.BufferedReader):
    """A remote file that is read by range."""

    def __init__(self, raw: Any, stamp: Stamp) -> None:
        super().__init__(raw, BUFFER_BYTES)
        self.stamp = stamp


class Whole(tempfile.SpooledTemporaryFile):
    """A file that was fetched whole: in memory up to SMALL_BYTES, then in an unnamed temporary file."""

    def __init__(self, stamp: Stamp) -> None:
        super().__init__(max_size=SMALL_BYTES)
        self.stamp = stamp


def spool(stream: BinaryIO, stamp: Stamp = UNKNOWN, block_bytes: int = 1 << 20) -> BinaryIO:
    """The rest of `stream` as a seekable file."""
    whole = Whole(stamp)
    while block := stream.read(block_bytes):
        whole.write(block)
        beat()
        if whole.tell() > MAX_SPOOL_BYTES:
            whole.close()
            raise UnreadableAudio(f"more than {MAX_SPOOL_BYTES >> 30} GiB from a server that gives no byte ranges")
    whole.seek(0)
    return cast(BinaryIO, whole)


@contextmanager
def rewound(file: BinaryIO) -> Iterator[BinaryIO]:
    """An open file from its beginning. It is not closed: it may be opened again, and goes with who has it."""
    file.seek(0)
    yield file


def _whole(raw: Any) -> BinaryIO:
    """An object of a store, in one request."""
    with raw:
        return spool(cast(BinaryIO, raw), _stamp(raw), SMALL_BYTES)


def _stamp(raw: Any) -> Stamp:
    return Stamp(raw.size(), _last_modified(raw.metadata()))


def _last_modified(metadata: Mapping[Any, Any]) -> str | None:
    """Of an object on S3, in the form of `stamp.modified`; other stores give no such entry."""
    value = metadata.get("Last-Modified", b"")
    return value.decode() if re.fullmatch(rb"[0-9T:-]+Z", value) else None


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
