"""Content -> a local file or an object that appears whole or not at all."""

import ctypes
import errno
import os
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow.fs as pafs

from pipeline.errors import OutputError
from pipeline.storage.filesystem import BUFFER_BYTES
from pipeline.storage.location import redact
from pipeline.storage.translate import reason

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")
"""Temporary file names of `write_whole`; a killed writer leaves such a file behind."""

Check = Callable[[], object]
"""Called just before content appears under its name; what it raises keeps the content from appearing."""


def write_whole(
    fs: pafs.FileSystem, path: str, write: Callable[[BinaryIO], object], check: Check | None = None
) -> None:
    """Create the file or object `path` whole or not at all, even after a crash. `write` fills the file it is given.

    Local: write to a hidden temporary file in the same folder, flush it to disk, call `check`, rename it. Object
    store: write to a spooled temporary file, then upload that; what fits into 10 MB is one request to S3, which comes
    after `check`. An interrupted upload is never completed: its parts are invisible, but the store keeps (and charges)
    them until a lifecycle rule for incomplete multipart uploads deletes them. Raises OutputError if `path` cannot be
    written, and what `check` raises.
    """
    with _writing(path):
        if not isinstance(fs, pafs.LocalFileSystem):
            return _put_whole(fs, path, write, check)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.part")
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if check:
                check()
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise


def _put_whole(fs: pafs.FileSystem, path: str, write: Callable[[BinaryIO], object], check: Check | None) -> None:
    """Upload in a thread: KeyboardInterrupt (Ctrl-C, a cancelled Ray task) is raised in the main thread only, so it
    cannot come between two steps of the upload. It makes the thread give up, and is raised once the thread has."""
    interrupted = threading.Event()
    with tempfile.SpooledTemporaryFile(max_size=BUFFER_BYTES) as spooled, ThreadPoolExecutor(1) as thread:
        with _spooling(path):
            write(cast(BinaryIO, spooled))
            spooled.seek(0)
        upload = thread.submit(_upload, fs, path, cast(BinaryIO, spooled), check, interrupted)
        try:
            upload.result()
        except BaseException:
            interrupted.set()
            raise


def _upload(
    fs: pafs.FileSystem, path: str, content: BinaryIO, check: Check | None, interrupted: threading.Event
) -> None:
    """Only `close` makes the object visible; on any error before it, the stream is never closed."""
    out = fs.open_output_stream(path, compression=None)
    try:
        while block := content.read(BUFFER_BYTES):
            out.write(block)
            if interrupted.is_set():
                break
        out.flush()  # waits for all parts of the upload, so that little time passes after `check`
        if interrupted.is_set():
            raise InterruptedError
        if check:
            check()
    except BaseException:
        # pyarrow cannot abort an upload, and the destructor of a stream completes it: this one lives for ever.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(out))
        raise
    out.close()


@contextmanager
def _spooling(path: str) -> Iterator[None]:
    """Inside, OSErrors are the temporary file's: files that are copied into it raise VoxmillErrors."""
    try:
        yield
    except OSError as e:
        where = tempfile.tempdir or "any folder"
        raise OutputError(
            f"{redact(path)}: its content cannot be put into a temporary file in {where} ({reason(e)}). Free some space"
            " there, or set TMPDIR to another folder."
        ) from e


_DISK_FULL = "Free some space there and run the same command again; without --overwrite, it keeps what is committed."


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        advice = _DISK_FULL if e.errno in (errno.ENOSPC, errno.EDQUOT) else "Its folder must be writable."
        raise OutputError(f"{redact(path)}: cannot be written ({reason(e)}). {advice}") from e
