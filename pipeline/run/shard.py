"""One shard of waves: a tar in WebDataset's form whose last member is an index, so that one wave is one ranged read.

The index member `__index__` is skipped by WebDataset and by Hugging Face datasets: its name has no dot. It is JSON,
padded with spaces, and its last 20 bytes are the offset at which it begins; 1024 zeros end the tar.
"""

import contextlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from pyarrow.fs import FileSystem

from pipeline.audio.wave_file import wave_bytes
from pipeline.errors import OutputError
from pipeline.run.layout import sample_key
from pipeline.storage.atomic import write_whole
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as

INDEX = "__index__"
BLOCK = 512
"""Bytes of a header of a tar; members are padded to whole blocks."""
END = bytes(2 * BLOCK)
TAIL_BYTES = 1 << 16
"""What one request at the end of a shard reads: an index of about a thousand waves fits in it."""
COPIED_BYTES = 4 << 20


class Entry(NamedTuple):
    """A wave in a shard."""

    id: str
    num_samples: int
    offset: int  # of its file, in the shard
    size: int  # bytes of its file
    start: int  # of its member's header

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return _padded(self.offset + self.size)


def write_shard(file: BinaryIO, waves: Iterable[tuple[str, int, Iterable[np.ndarray]]], format: str) -> None:
    """Write a shard of (id, number of samples, int16 blocks that hold them); `format` is "wav" or "flac"."""
    entries, at = [], 0
    for id_, num_samples, blocks in waves:
        size, content = wave_bytes(format, num_samples, blocks)
        header = member_header(id_, size, format)
        entry = Entry(id_, num_samples, at + len(header), size, at)
        file.write(header)
        for piece in content:
            file.write(piece)
        file.write(bytes(entry.end - entry.offset - size))
        entries.append(entry)
        at = entry.end
    _write_index(file, entries, at)


def member_header(id_: str, size: int, format: str) -> bytes:
    """What stands before a wave's file of `size` bytes; it has no time or owner: equal waves make equal shards."""
    return _header(f"{sample_key(id_)}.{format}", size)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _write_index(file: BinaryIO, entries: Sequence[Entry], at: int) -> None:
    text = json.dumps({"waves": [list(entry[:4]) for entry in entries]}, ensure_ascii=False).encode()
    size = _padded(len(text) + 20)
    header = _header(INDEX, size)
    file.write(header + text.ljust(size - 20) + b"%020d" % (at + len(header)) + END)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def read_index(fs: FileSystem, path: str) -> list[Entry]:
    """The waves of a shard, in order; none if there is no shard. Raises OutputError if it is damaged."""
    with errors_as(path, OutputError), contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(fs.open_input_file(path))
        except FileNotFoundError:
            return []
        size = file.size()
        tail = file.read_at(min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
        number, until = tail[-len(END) - 20 : -len(END)], size - len(END) - 20
        begin = int(number) if number.isdigit() else size
        if begin >= until or not tail.endswith(END):
            raise _damaged(path, "it has no index at its end")
        inside = begin - max(0, size - TAIL_BYTES)
        text = tail[inside : -len(END) - 20] if inside >= 0 else file.read_at(until - begin, begin)
    return _entries(path, text, begin)


def _entries(path: str, text: bytes, until: int) -> list[Entry]:
    """The rows of an index, each beginning where the one before it ends, and all before `until`."""
    found: list[Entry] = []
    try:
        for id_, num_samples, offset, size in json.loads(text)["waves"]:
            start = found[-1].end if found else 0
            found.append(Entry(id_, num_samples, offset, size, start))
            if not (isinstance(id_, str) and num_samples >= 0 and size >= 0 and start + BLOCK <= offset < until):
                raise _damaged(path, f"its index says that {id_!r} lies at {offset}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, f"its index cannot be read: {error}") from None
    return found


def _damaged(path: str, what: str) -> OutputError:
    return OutputError(
        f"{redact(path)} is not a whole shard of waves: {what}. `voxmill check RUN --repair` deletes it, then the "
        "command that made the run makes its waves again."
    )


def cut_shard(fs: FileSystem, old: str, new: str, kept: Iterable[Entry]) -> None:
    """Write the shard `new`, or `old` itself anew, with only the waves `kept` of `old`, in the order of `old`."""

    def write(file: BinaryIO) -> None:
        moved: list[Entry] = []
        at = 0
        with errors_as(old, OutputError):
            source = fs.open_input_file(old)
        with source:
            for entry in sorted(kept, key=lambda entry: entry.start):
                for piece in _pieces(source, old, entry):
                    file.write(piece)
                moved.append(entry._replace(offset=at + entry.offset - entry.start, start=at))
                at = moved[-1].end
        _write_index(file, moved, at)

    write_whole(fs, new, write)


def _pieces(source: Any, path: str, entry: Entry) -> Iterator[bytes]:
    for first in range(entry.start, entry.end, COPIED_BYTES):
        with errors_as(path, OutputError):
            piece = source.read_at(min(COPIED_BYTES, entry.end - first), first)
        yield piece
