"""A tar shard (WebDataset naming) -> its recordings, streamed in order, never unpacked.

Members of one key (the name up to the first dot of its last part) are adjacent: an audio member is a recording, the
text of its .json and .txt travels. A local, uncompressed shard is read in place; others are read once from the
beginning, each recording in memory (above fetch.SMALL_BYTES, in an unnamed temporary file).
"""

import gzip
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.errors import DuplicateId, InputError, RecordingError, TruncatedAudio, UnreadableAudio, UnsupportedAudio
from pipeline.fetch import SMALL_BYTES, Window, open_random, open_stream
from pipeline.files import is_local, reason, redact, telling
from pipeline.names import clean_id, is_hidden
from pipeline.task import AUDIO_SUFFIXES, Item

TAR_CARRIED = pa.schema([("json", pa.string()), ("txt", pa.string())])
"""The columns of every tar shard: what shards hold is known only once they are read."""
MAX_HEADER_BYTES = 16 << 20
"""The most that one header (a long name, extended attributes) or one text sibling may take."""
BLOCK = 512

Opener = Callable[[], AbstractContextManager[str | BinaryIO]]


@dataclass(frozen=True)
class Shard:
    """Where a tar shard is, and how its recordings are named."""

    id: str
    location: str
    prefixed: bool
    schemes: tuple[str, ...]

    @property
    def compressed(self) -> bool:
        return self.location.partition("?")[0].lower().endswith((".gz", ".tgz"))

    @property
    def in_place(self) -> bool:
        return is_local(self.location) and not self.compressed


@dataclass(frozen=True)
class Member:
    """One audio or text file of a shard."""

    name: str
    key: str
    suffix: str  # all behind the key's dot, in lower case
    offset: int  # of its content, in the (decompressed) shard
    open: Opener


def members(shard: Shard, carried: pa.Schema, done: frozenset[str]) -> Iterator[Item]:
    """Every recording of `shard` that is not in `done`. Where it breaks, a last item with the shard's own id."""
    shown = clean_id(redact(shard.location))
    if shard.prefixed and shard.id in done:  # it failed as a whole, and that is committed
        return
    seen: dict[str, int] = {}
    group: list[Member] = []
    failure = None
    try:
        for member in _read(shard):
            if group and member.key != group[0].key:
                yield from _recordings(group, shard, carried, seen, done)
                group = []
            group.append(member)
    except RecordingError as error:
        failure = error
    yield from _recordings(group, shard, carried, seen, done)
    if failure is not None:
        yield Item(shard.id, shown, shard.id, _nulls(carried), partial(_fail, failure))


def _recordings(
    group: list[Member], shard: Shard, carried: pa.Schema, seen: dict[str, int], done: frozenset[str]
) -> Iterator[Item]:
    columns = _nulls(carried)
    try:
        columns |= {m.suffix: pa.scalar(_text(m), pa.string()) for m in group if m.suffix in TAR_CARRIED.names}
        broken = None
    except RecordingError as error:
        broken = error
    for member in group:
        if not member.name.lower().endswith(AUDIO_SUFFIXES):
            continue
        id, opener = f"{shard.id}/{member.name}" if shard.prefixed else member.name, member.open
        source = f"{clean_id(redact(shard.location))}::{member.name}"
        if broken:
            opener = partial(_fail, broken)
        if id in seen:
            first, number = seen[id], 2
            while f"{id}#{number}" in seen:
                number += 1
            opener = partial(
                _fail,
                DuplicateId(
                    f"{source}: a second member of this name at byte {member.offset}, the first is at byte {first};"
                    " members of a shard need different names"
                ),
            )
            id = f"{id}#{number}"
        seen[id] = member.offset
        if id not in done:
            yield Item(id, source, member.name, columns, opener)


def _nulls(carried: pa.Schema) -> dict[str, pa.Scalar]:
    return {column.name: pa.scalar(None, column.type) for column in carried}


def _text(member: Member) -> str:
    with member.open() as file:
        content = cast(BinaryIO, file).read(MAX_HEADER_BYTES + 1)
    if len(content) > MAX_HEADER_BYTES:
        raise UnsupportedAudio(f"its {member.name} is over {MAX_HEADER_BYTES >> 20} MiB, too long for a column of text")
    return content.decode(errors="replace")


@contextmanager
def _fail(error: RecordingError) -> Iterator[BinaryIO]:
    raise error
    yield  # makes it a context manager


def _read(shard: Shard) -> Iterator[Member]:
    """The audio and text members in order. Raises TruncatedAudio or UnreadableAudio where the shard breaks."""
    shown, last = clean_id(redact(shard.location)), "its beginning"
    try:
        with telling(shard.location, UnreadableAudio), _open(shard) as stream:
            file = _Forward(stream, shard.in_place)
            tar = tarfile.TarFile(fileobj=cast(BinaryIO, file), encoding="utf-8", errors="surrogateescape")
            while (info := tar.next()) is not None:
                last = clean_id(info.name)
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps them all
                member = _member(shard, info, file)
                if member is not None:
                    yield member
            if file.last != bytes(BLOCK):
                what = f"a damaged header at byte {file.position - len(file.last)}" if file.last else "no end mark"
                raise TruncatedAudio(f"{shown}: {what} after {last}; what follows is lost, make the shard again")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise TruncatedAudio(f"{shown}: breaks after {last} ({reason(e)}); make the shard again") from None
    except InputError as e:
        raise UnreadableAudio(str(e)) from None


def _member(shard: Shard, info: tarfile.TarInfo, file: "_Forward") -> Member | None:
    name = clean_id(info.name.removeprefix("./"))
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    is_audio = name.lower().endswith(AUDIO_SUFFIXES)
    if info.isdir() or is_hidden(name) or not (is_audio or suffix.lower() in TAR_CARRIED.names):
        return None
    return Member(name, folder + slash + stem, suffix.lower(), info.offset_data, _opener(shard, info, file, name))


def _opener(shard: Shard, info: tarfile.TarInfo, file: "_Forward", name: str) -> Opener:
    if info.issparse() or not info.isreg():
        kind = "sparse file" if info.issparse() else "link or device"
        return partial(_fail, UnsupportedAudio(f"{name} is a {kind} in its tar; archive the plain file itself"))
    if shard.in_place:
        file.require(info.offset_data + info.size)
        return partial(_open_window, shard, info.offset_data, info.size)
    if info.size <= SMALL_BYTES:
        content = file.content(info.size)
        return lambda: nullcontext(io.BytesIO(content))
    return partial(_rewound, file.spooled(info.size))


@contextmanager
def _rewound(file: BinaryIO) -> Iterator[BinaryIO]:
    file.seek(0)
    yield file  # not closed: it may be opened again, and goes with its item


@contextmanager
def _open_window(shard: Shard, offset: int, size: int) -> Iterator[BinaryIO]:
    with telling(shard.location, UnreadableAudio):
        file = open_random(shard.location, shard.schemes)
    if size > SMALL_BYTES:
        with io.BufferedReader(Window(file, offset, size)) as window:
            yield cast(BinaryIO, window)
        return
    with file:
        file.seek(offset)
        content = file.read(size)
    yield io.BytesIO(content)


@contextmanager
def _open(shard: Shard) -> Iterator[BinaryIO]:
    if shard.in_place:
        with open_random(shard.location, shard.schemes) as file:
            yield file
        return
    with open_stream(shard.location, shard.schemes) as stream:
        buffered = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20))
        yield cast(BinaryIO, gzip.GzipFile(fileobj=buffered)) if shard.compressed else buffered


class _Forward:
    """What tarfile reads headers from: forward only; keeps the last block; refuses headers that fill the memory."""

    def __init__(self, stream: BinaryIO, in_place: bool) -> None:
        self.stream, self.in_place, self.position, self.last = stream, in_place, 0, b""

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError("a header that points backwards")
        if self.in_place:
            self.position = self.stream.seek(position)
        while self.position < position and self._skip(min(1 << 20, position - self.position)):
            pass

    def _skip(self, size: int) -> int:
        skipped = len(self.stream.read(size))
        self.position += skipped
        return skipped

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._read(size)
        return self.last

    def _read(self, size: int) -> bytes:
        blocks = []
        while size > 0 and (block := self.stream.read(size)):
            blocks.append(block)
            size -= len(block)
            self.position += len(block)
        return b"".join(blocks)

    def require(self, end: int) -> None:
        """Of a shard in place: raise tarfile.ReadError where it ends before the byte `end`."""
        if end > os.fstat(self.stream.fileno()).st_size:
            raise tarfile.ReadError("unexpected end of data")

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
            block = self.content(min(1 << 20, size))
            size -= file.write(block)
        return cast(BinaryIO, file)
