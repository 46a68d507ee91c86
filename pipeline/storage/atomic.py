"""Content -> a local file or an object that appears whole or not at all."""

import errno
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow.fs as pafs

from pipeline.errors import OutputError
from pipeline.storage.filesystem import BUFFER_BYTES
from pipeline.storage.location import redact
from pipeline.storage.translate import reason

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")
"""Temporary file names of `write_whole`; a killed writer leaves such a file behind."""


def write_whole(fs: pafs.FileSystem, path: str, write: Callable[[BinaryIO], object]) -> None:
    """Create the file or object `path` whole or not at all, even after a crash. `write` fills the file it is given.

    Local: write to a hidden temporary file in the same folder, flush it to disk, rename it. Object store: a put is
    atomic, but closing an interrupted stream would store a partial object; so write to a spooled temporary file first,
    then upload it. Raises OutputError if `path` cannot be written.
    """
    with _writing(path):
        if not isinstance(fs, pafs.LocalFileSystem):
            return _put_whole(fs, path, write)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.part")
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise


def _put_whole(fs: pafs.FileSystem, path: str, write: Callable[[BinaryIO], object]) -> None:
    with tempfile.SpooledTemporaryFile(max_size=BUFFER_BYTES) as spooled:
        write(cast(BinaryIO, spooled))
        spooled.seek(0)
        with fs.open_output_stream(path, compression=None, buffer_size=BUFFER_BYTES) as out:
            while block := spooled.read(BUFFER_BYTES):
                out.write(block)


_DISK_FULL = "Free some space there and run the same command again: it continues from the committed parts."


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        advice = _DISK_FULL if e.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose a writable folder for --out."
        raise OutputError(f"{redact(path)}: cannot be written ({reason(e)}). {advice}") from e
