"""A compressed file -> what is missing at its end, if anything.

Decoders hide it: they stop at the last whole packet and report success. What a container says about its own length
is found in a few reads, without decoding; only Ogg, small and with checksums, is read through.
"""

import io
import zlib
from typing import BinaryIO, NamedTuple, cast

from pipeline.audio import ends, sphere
from pipeline.audio.ends import fewer, read_at
from pipeline.audio.mpeg import first_frame, missing_tail, xing_bytes

_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte's bits in the other order
_MATROSKA_INSIDE = {0x18538067, 0x1F43B675}  # Segment, Cluster: walked into where their length is not written
_STREAMED_AIFF = 0x7F000000  # sizes from here on are what streaming writers put


class Missing(NamedTuple):
    """Why a file cannot be whole."""

    why: str  # in words
    at_end: bool  # all before what is missing is there, and decoded at its right place


def missing_end(stream: BinaryIO, size: int, container: str) -> Missing | None:
    """Why a file of `size` bytes cannot be whole; None where its container shows no gap.

    `container`: what FFmpeg took it for, "" if it took it for nothing.
    """
    head = read_at(stream, 0, 12)
    if head[:4] == b"fLaC":  # its frames have numbers
        return None
    buffered = io.BufferedReader(cast(io.RawIOBase, stream))  # what walks over a file reads a few bytes at a time
    try:
        if head[:4] == b"OggS":
            return _ogg(buffered, size)
        why = _cut(buffered, size, container, head)
        return None if why is None else Missing(why, at_end=True)
    finally:
        buffered.detach()  # else `stream` would be closed with it


def _cut(stream: BinaryIO, size: int, container: str, head: bytes) -> str | None:
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _mp4(stream, size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska(stream, size)
    if head[:4] == b"FORM":
        promised = int.from_bytes(head[4:8], "big") + 8
        return fewer(promised, size) if promised < _STREAMED_AIFF else None
    if head[:8] == sphere.MAGIC:
        return sphere.missing_end(read_at(stream, 0, sphere.HEADER_BYTES), size)
    if (missing := ends.by_head(head) or ends.BY_CONTAINER.get(container)) is not None:
        return missing(stream, size)
    return _mpeg(stream, size) if container in ("mp3", "aac") else None


def _mpeg(stream: BinaryIO, size: int) -> str | None:
    """The last frame must be whole, and a Xing header must not promise more."""
    begin = first_frame(stream)
    if begin is None:
        return None
    promised = begin + xing_bytes(read_at(stream, begin, 2048))
    return fewer(promised, size) or missing_tail(stream, begin, size)


def _ogg(stream: BinaryIO, size: int) -> Missing | None:
    """All pages must be there and sound, the last of each stream flagged. All is read: FFmpeg skips what is damaged."""
    position, following = 0, dict[bytes, int]()  # the next page's number, of each stream that has not ended
    while position < size:
        head = read_at(stream, position, 27 + 255)
        length = 27 + head[26] + sum(head[27 : 27 + head[26]]) if len(head) > 26 else 27
        if head[:4] != b"OggS":
            return Missing(f"it has no Ogg page at byte {position}", at_end=False) if following else None
        page, serial, number = read_at(stream, position, length), head[14:18], int.from_bytes(head[18:22], "little")
        if len(page) < length:
            return Missing("its last Ogg page is not whole", at_end=True)
        if _ogg_checksum(page) != int.from_bytes(page[22:26], "little") or following.get(serial, number) != number:
            return Missing(f"its Ogg pages up to byte {position + length} are damaged", at_end=False)
        following[serial] = number + 1
        if page[5] & 4:
            del following[serial]
        position += length
    return Missing("its last Ogg page lacks the end-of-stream flag", at_end=True) if following else None


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC-32 has zlib's polynomial, but the other bit order, and begins with 0."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRROR)
    return int(f"{zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def _mp4(stream: BinaryIO, size: int) -> str | None:
    """The outermost boxes must tile the file, and one of them is the index."""
    position, seen = 0, set()
    while position + 8 <= size:
        head = read_at(stream, position, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or size - position
        seen.add(name)
        if length < 8:
            break  # not a box: bytes after the last one
        if position + length > size:
            return f"its {name.decode('latin1')!r} box ends at byte {position + length}, the file at {size}"
        position += length
    return None if b"moov" in seen else "it has no index ('moov' box), which most writers put at the end"


def _matroska(stream: BinaryIO, size: int) -> str | None:
    """No element may end after the file. Live recordings write no length: their clusters' blocks are walked then."""
    position = 0
    while position < size:
        head = read_at(stream, position, 12)
        name_bytes = _vint_bytes(head[0])
        length_bytes = _vint_bytes(head[name_bytes]) if name_bytes < len(head) else 9
        if name_bytes > 4 or length_bytes > 8 or len(head) < name_bytes + length_bytes:
            return None if size - position > 12 else "its last element has no whole header"
        raw = int.from_bytes(head[name_bytes : name_bytes + length_bytes], "big")
        length = raw & ((1 << 7 * length_bytes) - 1)
        position += name_bytes + length_bytes
        if length == (1 << 7 * length_bytes) - 1:  # unknown
            if int.from_bytes(head[:name_bytes], "big") not in _MATROSKA_INSIDE:
                return None
            continue
        position += length
    return fewer(position, size)


def _vint_bytes(first: int) -> int:
    """Bytes of an EBML number, by its first byte."""
    return 9 - first.bit_length()
