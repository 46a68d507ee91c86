"""A compressed file -> what is missing at its end, if anything.

Decoders hide it: they stop at the last whole packet and report success. What a container says about its own length
is found in a few reads, without decoding.
"""

from typing import BinaryIO

from pipeline.mpeg import first_frame, missing_tail, xing_bytes

_TAIL = 1 << 17  # bytes: two of the largest Ogg pages, many MPEG frames
_MATROSKA_INSIDE = {0x18538067, 0x1F43B675}  # Segment, Cluster: walked into where their length is not written
_STREAMED_AIFF = 0x7F000000  # sizes from here on are what streaming writers put


def missing_end(stream: BinaryIO, size: int, container: str) -> str | None:
    """Why a file of `size` bytes cannot be whole, in words; None where its container shows no gap.

    `container`: what FFmpeg took it for, "" if it took it for nothing.
    """
    head = _read(stream, 0, 12)
    if head[:4] == b"OggS":
        return _ogg(_read(stream, max(0, size - _TAIL), _TAIL))
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _mp4(stream, size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska(stream, size)
    if head[:4] == b"FORM":
        promised = int.from_bytes(head[4:8], "big") + 8
        return _fewer(promised, size) if size < promised < _STREAMED_AIFF else None
    return _mpeg(stream, size) if container in ("mp3", "aac") else None


def _read(stream: BinaryIO, begin: int, length: int) -> bytes:
    stream.seek(begin)
    return stream.read(length)


def _fewer(promised: int, size: int) -> str:
    return f"its header promises {promised} bytes, it has {size}"


def _mpeg(stream: BinaryIO, size: int) -> str | None:
    """The last frame must be whole, and a Xing header must not promise more."""
    begin = first_frame(stream)
    if begin is None:
        return None
    promised = begin + xing_bytes(_read(stream, begin, 2048))
    return _fewer(promised, size) if promised > size else missing_tail(_read(stream, max(begin, size - _TAIL), _TAIL))


def _ogg(tail: bytes) -> str | None:
    """The last page must be whole and carry the end-of-stream flag."""
    page = tail.rfind(b"OggS")
    segments = tail[page + 27 : page + 27 + tail[page + 26]] if 0 <= page < len(tail) - 26 else b""
    if not segments or len(segments) < tail[page + 26] or page + 27 + len(segments) + sum(segments) > len(tail):
        return "its last Ogg page is not whole"
    return None if tail[page + 5] & 4 else "its last Ogg page lacks the end-of-stream flag"


def _mp4(stream: BinaryIO, size: int) -> str | None:
    """The outermost boxes must tile the file, and one of them is the index."""
    position, seen = 0, set()
    while position + 8 <= size:
        head = _read(stream, position, 16)
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
        head = _read(stream, position, 12)
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
    return _fewer(position, size) if position > size else None


def _vint_bytes(first: int) -> int:
    """Bytes of an EBML number, by its first byte."""
    return 9 - first.bit_length()
