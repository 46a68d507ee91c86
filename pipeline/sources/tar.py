"""A tar file, local or remote, plain or compressed -> its audio and text members in order, never unpacked.

A local, uncompressed archive is read in place. Others are read once from the beginning, the members of one key in
memory (above opening.SMALL_BYTES, in an unnamed temporary file).
"""

import io
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, cast

import pyarrow as pa

from actors.watchdog import beat
from pipeline.errors import InputError, TruncatedAudio, UnreadableAudio, UnsupportedAudio
from pipeline.sources import unpack
from pipeline.sources.found import Found, Rules
from pipeline.sources.members import CARRIED, Member, Opener, fail, is_wanted, key_of, member_of, recordings
from pipeline.sources.task import Container, InputRecording, ReadTask, containers
from pipeline.storage.location import is_local
from pipeline.storage.opening import MAX_SPOOL_BYTES, SMALL_BYTES, Window, open_random, open_stream, rewound
from pipeline.storage.text import clean_id
from pipeline.storage.translate import errors_as, reason

SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
MAX_HEADER_BYTES = 16 << 20
"""The most that one header (a long name, extended attributes) may take: tarfile would read any size into memory."""

ODD = (ValueError, IndexError, OverflowError, RecursionError)
"""What tarfile raises, beside its own errors, for headers that nobody writes: thousands of names of one member."""


def _is_packed(shard: Container) -> bool:
    return shard.source.lower().endswith(unpack.SUFFIXES)


def _in_place(shard: Container) -> bool:
    return is_local(shard.location) and not _is_packed(shard)


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """Every file is a shard; only opening it tells what it holds."""
    return [Found(source, "tar", units, CARRIED)], 0


def read(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of the shards of `task` that is not committed, in order."""
    done = frozenset(task.done.to_pylist())
    for shard in containers(task):
        yield from recordings(shard, read_members(shard), done)


def read_members(archive: Container) -> Iterator[Member]:
    """Members in order but for hidden and other ones. Raises TruncatedAudio or UnreadableAudio where it breaks."""
    shown, last = archive.source, "its beginning"
    try:
        with errors_as(archive.location, UnreadableAudio), _open(archive) as stream:
            file = _Forward(stream, _in_place(archive))
            try:
                tar = tarfile.TarFile(fileobj=cast(BinaryIO, file), encoding="utf-8", errors="surrogateescape")
                while (info := tar.next()) is not None:
                    last = clean_id(info.name)
                    tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all
                    member = _member(archive, info, file)
                    if member is not None:
                        yield member
            except (tarfile.TarError, EOFError, *ODD) as e:
                raise TruncatedAudio(f"{shown}: breaks after {last} ({reason(e)}); make the shard again") from None
            if file.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
                what = f"a damaged header at byte {file.position - len(file.last)}" if file.last else "no end mark"
                raise TruncatedAudio(f"{shown}: {what} after {last}; what follows is lost, make the shard again")
    except InputError as e:
        raise UnreadableAudio(str(e)) from None


def _member(archive: Container, info: tarfile.TarInfo, file: "_Forward") -> Member | None:
    name = clean_id(info.name.removeprefix("./"))
    if info.isdir() or not is_wanted(name):
        return None
    return member_of(name, info.offset_data, _opener(archive, info, file, name))


def _opener(archive: Container, info: tarfile.TarInfo, file: "_Forward", name: str) -> Opener:
    if info.issparse() or not info.isreg():
        kind = "sparse file" if info.issparse() else "link or device"
        return partial(fail, UnsupportedAudio(f"{name} is a {kind} in its tar; archive the plain file itself"))
    if info.size < 0:
        raise tarfile.ReadError(f"{name} has {info.size} bytes")
    if _in_place(archive):
        file.require(info.offset_data + info.size)
        return partial(_open_window, archive, info.offset_data, info.size)
    if info.size > MAX_SPOOL_BYTES:  # to pass over it would unpack it all the same
        limit = MAX_SPOOL_BYTES >> 30
        raise tarfile.ReadError(
            f"{name} has {info.size} bytes; the limit is {limit} GiB where a tar is not read in place"
        )
    if info.size <= SMALL_BYTES:
        return file.group(key_of(name)).add(file.content(info.size))
    return partial(rewound, file.spooled(info.size))


@contextmanager
def _open_window(archive: Container, offset: int, size: int) -> Iterator[BinaryIO]:
    with errors_as(archive.location, UnreadableAudio):
        file = open_random(archive.location, archive.access)
    if size > SMALL_BYTES:
        with io.BufferedReader(Window(file, offset, size)) as window:
            yield cast(BinaryIO, window)
        return
    with errors_as(archive.location, UnreadableAudio), file:
        file.seek(offset)
        content = file.read(size)
    yield io.BytesIO(content)


@contextmanager
def _open(archive: Container) -> Iterator[BinaryIO]:
    if _in_place(archive):
        with open_random(archive.location, archive.access) as file:
            yield file
        return
    with open_stream(archive.location, archive.access) as stream:
        buffered = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20))
        yield cast(BinaryIO, unpack.Unpacked(buffered, archive.source)) if _is_packed(archive) else buffered


class _Group:
    """The small members of one key, which wait for its last one, as that may be their text: spk.001.wav, spk.002.wav,
    ..., spk.txt. In memory up to SMALL_BYTES, then in an unnamed temporary file."""

    def __init__(self, key: str) -> None:
        self.key, self.lock = key, threading.Lock()
        self.file = tempfile.SpooledTemporaryFile(max_size=SMALL_BYTES)  # noqa: SIM115 (goes with its members)

    def add(self, content: bytes) -> Opener:
        with self.lock:
            offset = self.file.seek(0, os.SEEK_END)
            self.file.write(content)
        return partial(self._open, offset, len(content))

    @contextmanager
    def _open(self, offset: int, size: int) -> Iterator[BinaryIO]:
        with self.lock:
            self.file.seek(offset)
            content = self.file.read(size)
        yield io.BytesIO(content)


class _Forward:
    """What tarfile reads headers from: forward only; keeps the last block; refuses headers that fill the memory."""

    def __init__(self, stream: BinaryIO, in_place: bool) -> None:
        self.stream, self.in_place, self.position, self.last = stream, in_place, 0, b""
        self.latest = _Group("")

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError("a header that points backwards")
        if self.in_place:
            self.position = self.stream.seek(position)
        while self.position < position and self._read(min(1 << 20, position - self.position)):
            pass

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._read(size)
        return self.last

    def _read(self, size: int) -> bytes:
        blocks = []
        while size > 0 and (block := self.stream.read(size)):
            blocks.append(block)
            beat()
            size -= len(block)
            self.position += len(block)
        return b"".join(blocks)

    def require(self, end: int) -> None:
        """Of an archive in place: tarfile.ReadError where it ends before the byte `end`."""
        if end > os.fstat(self.stream.fileno()).st_size:
            raise tarfile.ReadError("unexpected end of data")

    def group(self, key: str) -> "_Group":
        """Of the members of `key`, which lie beside each other."""
        if key != self.latest.key:
            self.latest = _Group(key)
        return self.latest

    def content(self, size: int) -> bytes:
        """The next `size` bytes; tarfile.ReadError where there are fewer."""
        content = self._read(size)
        if len(content) < size:
            raise tarfile.ReadError("unexpected end of data")
        return content

    def spooled(self, size: int) -> BinaryIO:
        """The next `size` bytes as a file of their own."""
        file = tempfile.SpooledTemporaryFile(max_size=SMALL_BYTES)  # noqa: SIM115 (goes with its item)
        while size > 0:
            size -= file.write(self.content(min(1 << 20, size)))
        return cast(BinaryIO, file)
