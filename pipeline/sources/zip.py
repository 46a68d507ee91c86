"""A zip file, local or remote -> its audio and text members, read in place; names and siblings as in tar shards."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.errors import InputError, TruncatedAudio, UnreadableAudio, UnsupportedAudio
from pipeline.sources.found import Found, Rules
from pipeline.sources.members import CARRIED, Member, Opener, fail, is_wanted, member_of, recordings
from pipeline.sources.task import Container, InputRecording, ReadTask, containers
from pipeline.sources.unpack import refuse_bomb
from pipeline.storage.opening import MAX_SPOOL_BYTES, open_random, spool
from pipeline.storage.text import clean_id
from pipeline.storage.translate import errors_as, reason

SUFFIXES = (".zip",)
ENCRYPTED = 0x1
"""Bit 0 of the general purpose flags (APPNOTE 4.4.4)."""
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods that zipfile unpacks piece by piece. Of the others it unpacks at once all that some kilobytes hold, which may
be gigabytes, and only then keeps what the header declares."""
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError)
"""What zipfile raises for archives that are cut, changed or malformed."""


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """Every file is an archive; only opening it shows what it holds."""
    return [Found(source, "zip", units, CARRIED)], 0


def read(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of the archives of `task` that is not committed, in order."""
    done = frozenset(task.done.to_pylist())
    for archive in containers(task):
        yield from recordings(archive, read_members(archive), done)


def read_members(archive: Container) -> Iterator[Member]:
    """Audio and text members, those of one key beside each other. Raises RecordingError where the archive is broken.

    The file stays open as long as a member of it is referenced.
    """
    try:
        with errors_as(archive.location, UnreadableAudio):
            file = open_random(archive.location, archive.access)
            opened = zipfile.ZipFile(file)
    except InputError as e:
        raise UnreadableAudio(str(e)) from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as e:
        raise TruncatedAudio(f"{archive.source}: no whole zip file ({reason(e)}); make the archive again") from None
    _refuse_overlap(archive, file, opened)
    keys: dict[str, list[Member]] = {}
    for info in opened.infolist():
        name = clean_id(info.filename.removeprefix("./"))
        if not name.endswith("/") and is_wanted(name):
            member = member_of(name, info.header_offset, _opener(opened, info, name))
            keys.setdefault(member.key, []).append(member)
    for members in keys.values():
        yield from members


def _refuse_overlap(archive: Container, file: BinaryIO, opened: zipfile.ZipFile) -> None:
    """A bomb names the same packed bytes thousands of times."""
    claimed, size = sum(info.compress_size for info in opened.infolist()), file.seek(0, io.SEEK_END)
    if claimed > size:
        raise UnsupportedAudio(
            f"{archive.source}: its members claim {claimed} packed bytes, it has {size}: they overlap"
        )


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Opener:
    if info.flag_bits & ENCRYPTED:
        return partial(fail, UnsupportedAudio(f"{name} is encrypted in its zip; archive it without a password"))
    if info.compress_type not in BOUNDED:
        method = zipfile.compressor_names.get(info.compress_type, info.compress_type)  # type: ignore[attr-defined]
        return partial(fail, UnsupportedAudio(f"{name} is packed by {method}; archive it with deflate, or stored"))
    if info.file_size > MAX_SPOOL_BYTES:
        limit = MAX_SPOOL_BYTES >> 30
        return partial(fail, UnsupportedAudio(f"{name} unpacks to {info.file_size} bytes; the limit is {limit} GiB"))
    return partial(_open_member, archive, info, name)


@contextmanager
def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[BinaryIO]:
    """The unpacked member as a seekable file. zipfile never gives more bytes than the header declares."""
    refuse_bomb(name, info.file_size, info.compress_size)
    try:
        with archive.open(info) as member:
            content = spool(cast(BinaryIO, member))
    except NotImplementedError as e:
        raise UnsupportedAudio(f"{name}: {e}; archive it with deflate, or stored") from None
    except DAMAGE as e:
        raise TruncatedAudio(f"{name} cannot be unpacked ({reason(e)}); make the archive again") from None
    with cast(io.BufferedIOBase, content):
        yield content
