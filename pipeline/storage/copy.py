"""Files of one place -> the same files in another: linked on one disk, copied by the store itself, or streamed."""

import errno
import os
import uuid
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.errors import OutputError
from pipeline.storage.at_once import each_on_store
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import read_blocks
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as

COPIES_AT_ONCE = 32
"""Requests to a store: a copy is one of some 20 ms, in which the store works and this process waits."""
NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}
"""Other disks, and disks without hard links: the file is copied."""

Pair = tuple[str, str]
"""The paths of a file: where it is, and where it goes."""


def copy_files(source: FileSystem, target: FileSystem, pairs: Sequence[Pair]) -> None:
    """Each appears whole. A file that is in the way is replaced, and left alone where it is that very file.

    Linked files are one file under two names: who changes one in place changes both. Raises OutputError.
    """
    copy = _to_disk if isinstance(target, LocalFileSystem) else _to_store
    remote = source if isinstance(target, LocalFileSystem) else target
    each_on_store(remote, partial(copy, source, target), pairs, COPIES_AT_ONCE)


def _to_disk(source: FileSystem, target: FileSystem, pair: Pair) -> None:
    if not (isinstance(source, LocalFileSystem) and _linked(*pair)):
        _stream(source, target, pair)


def _to_store(source: FileSystem, target: FileSystem, pair: Pair) -> None:
    if source != target:
        _stream(source, target, pair)
        return
    with errors_as(pair[1], OutputError):
        target.copy_file(*pair)


def _stream(source: FileSystem, target: FileSystem, pair: Pair) -> None:
    def write(out: BinaryIO) -> None:
        for block in read_blocks(source, pair[0]):
            out.write(block)

    write_whole(target, pair[1], write)


def _linked(old: str, new: str) -> bool:
    """False where this disk cannot link them."""
    try:
        try:
            os.link(old, new)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(new), exist_ok=True)
            os.link(old, new)
        except FileExistsError:
            if not os.path.samefile(old, new):
                beside = os.path.join(os.path.dirname(new), f".{uuid.uuid4().hex}.part")
                os.link(old, beside)
                os.replace(beside, new)
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise OutputError(f"{redact(new)}: cannot be linked to {redact(old)} ({error.strerror})") from error
    return True
