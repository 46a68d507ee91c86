"""Where a manifest lies -> its bytes, unpacked: a file, a URI, gzip, standard input; and the files beside it."""

import functools
import gzip
import io
import sys
import zlib
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, cast

import pyarrow.fs as pafs

from pipeline.errors import InputError
from pipeline.sources.manifests.parsed import Given
from pipeline.storage.access import Access
from pipeline.storage.filesystem import locate, look_up
from pipeline.storage.location import STDIN, around, file_name, folder_of, is_http, is_uri, quoted, redact
from pipeline.storage.opening import open_stream
from pipeline.storage.translate import opening_errors_as

MAX_UNPACKED = 16 << 30
"""Bytes of a manifest behind gzip, which packs up to 1000 to 1. Its rows are held in memory."""


def given(location: str, column: str | None, access: Access) -> Given:
    """What the parsers get."""
    return Given(redact(location), column, partial(_open, location, access), partial(_beside, location, access))


def _open(location: str, access: Access) -> BinaryIO:
    if location == STDIN:
        return io.BytesIO(standard_input())
    file = open_stream(location, access)
    return cast(BinaryIO, Unpacked(file)) if file_name(location).lower().endswith(".gz") else file


@functools.cache
def standard_input() -> bytes:
    """All of it. A process reads it once and keeps it: a second look at the inputs sees the same."""
    if sys.stdin.isatty():
        raise InputError("the input - is standard input, a terminal here; pipe a list of paths or JSON lines into it")
    return sys.stdin.buffer.read()


class Unpacked(gzip.GzipFile):
    """A gzip file that ends with an error after MAX_UNPACKED bytes."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file)
        self.file, self.total = file, 0

    def read(self, size: int | None = -1) -> bytes:
        try:
            data = super().read(size)
        except zlib.error as e:
            raise OSError(f"gzip: {e}") from None
        self.total += len(data)
        if self.total > MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED >> 20} MiB, the limit; split it")
        return data

    def close(self) -> None:
        super().close()
        self.file.close()


def _beside(location: str, access: Access, name: str) -> Callable[[], BinaryIO] | None:
    if location == STDIN:
        return None
    before, after = around(folder_of(location))
    other = f"{before}{quoted(name) if is_uri(before) else name}{after}"
    return partial(_open, other, access) if exists(other, access) else None


def exists(location: str, access: Access) -> bool:
    """Whether a file is there. Raises InputError where its server or disk does not tell."""
    if is_http(location):
        try:
            look_up(location, access)
        except InputError as e:
            if "no such file" in str(e):
                return False
            raise
        return True
    fs, path = locate(location, access.schemes)
    with opening_errors_as(location, InputError):
        return fs.get_file_info([path])[0].type == pafs.FileType.File
