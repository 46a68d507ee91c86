"""AU, CAF, AVI, ASF, WavPack, AMR and MPEG streams -> what is missing at their end, if they tell.

Each function takes a seekable stream and its size in bytes, and returns the reason in words, or None. Transport and
program streams hold no length: of them only a cut packet shows, and a cut between two packets looks whole.
"""

from collections.abc import Callable
from typing import BinaryIO

_UNKNOWN = {0, 0xFFFFFFFF, 2**64 - 1}
"""Sizes that a writer puts which could not come back to its header."""
_AMR_BYTES = {  # of a frame's speech bits, by its type (RFC 4867, section 5.3; types without one hold none)
    b"#!AMR\n": (12, 13, 15, 17, 19, 20, 26, 31, 5, 0, 0, 0, 0, 0, 0, 0),
    b"#!AMR-WB\n": (17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 0, 0, 0, 0, 0, 0),
}
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_PACKET_BYTES = (188, 192, 204)  # of a transport stream: plain, with a time code, with error correction
_TAIL = 1 << 17  # bytes: many packets of a program stream
_PACK, _PROGRAM_END = b"\0\0\1\xba", 0xB9  # start codes of a program stream; lower ones stand inside pictures


def by_head(head: bytes) -> Callable[[BinaryIO, int], str | None] | None:
    """The function for a file that begins with `head` (12 bytes or more); None for what is not read here."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi
    heads = {b".snd": _au, b"caff": _caf, b"wvpk": _wavpack, _ASF[:4]: _asf, b"#!AM": _amr}
    return heads.get(head[:4])


def read_at(stream: BinaryIO, begin: int, length: int) -> bytes:
    """Up to `length` bytes from `begin` on."""
    stream.seek(begin)
    return stream.read(length)


def fewer(promised: int, size: int) -> str | None:
    """That a file has fewer bytes than its header promises, in words; None where it does not."""
    return f"its header promises {promised} bytes, it has {size}" if promised > size else None


def _au(stream: BinaryIO, size: int) -> str | None:
    begin, length = (int.from_bytes(read_at(stream, at, 4), "big") for at in (4, 8))
    return None if length in _UNKNOWN else fewer(begin + length, size)


def _caf(stream: BinaryIO, size: int) -> str | None:
    """Chunks tile the file; the samples' may have no length, and is the last one then."""
    position = 8
    while position < size:
        length = int.from_bytes(read_at(stream, position + 4, 8), "big")
        if length in _UNKNOWN:
            return None
        position += 12 + length
    return fewer(position, size)


def _avi(stream: BinaryIO, size: int) -> str | None:
    """One RIFF of a gigabyte after another; only the last may lack its byte of padding."""
    position = 0
    while position < size and (head := read_at(stream, position, 8))[:4] == b"RIFF":
        length = int.from_bytes(head[4:], "little")
        if length in _UNKNOWN:
            return None
        position += 8 + length
        if position > size:
            return fewer(position, size)
        position += length % 2
    return None


def _asf(stream: BinaryIO, size: int) -> str | None:
    """Objects tile the file: 16 bytes of name, 8 of length, that of the whole object. A live one has no length."""
    position = 0
    while position < size:
        length = int.from_bytes(read_at(stream, position + 16, 8), "little")
        if length < 24 or length in _UNKNOWN:
            return None
        position += length
    return fewer(position, size)


def _wavpack(stream: BinaryIO, size: int) -> str | None:
    """Blocks tile the file, and the first one has the number of samples in all of them. Tags may follow."""
    position = end = 0
    total = int.from_bytes(read_at(stream, 12, 4), "little")
    while (head := read_at(stream, position, 32))[:4] == b"wvpk" and len(head) == 32:
        end = int.from_bytes(head[16:20], "little") + int.from_bytes(head[20:24], "little")
        position += 8 + int.from_bytes(head[4:8], "little")
    if position > size or (size - position < 32 and head):
        return f"its last block is cut at byte {size}"
    return f"its header promises {total} samples, its blocks hold {end}" if end < total != 0xFFFFFFFF else None


def _amr(stream: BinaryIO, size: int) -> str | None:
    """A byte with its type begins each frame."""
    magic = next((magic for magic in _AMR_BYTES if read_at(stream, 0, len(magic)) == magic), None)
    if magic is None:
        return None
    position, lengths = len(magic), _AMR_BYTES[magic]
    while position < size:
        block, at = read_at(stream, position, 1 << 16), 0
        while at < len(block):
            at += 1 + lengths[block[at] >> 3 & 15]
        position += at
    return f"its last frame lacks {position - size} bytes" if position > size else None


def _transport_stream(stream: BinaryIO, size: int) -> str | None:
    """Packets of one length, each with 0x47 in front (behind a time code of 4 bytes where they have 192)."""
    head = read_at(stream, 0, 5 * max(_PACKET_BYTES))
    for length in _PACKET_BYTES:
        if set(head[4 * (length == 192) :: length][:5]) == {0x47} and size % length:
            return f"its last transport packet has {size % length} of {length} bytes"
    return None


def _program_stream(stream: BinaryIO, size: int) -> str | None:
    """The packets from a pack header near the end must come out at the end; zeros may follow."""
    tail = read_at(stream, max(0, size - _TAIL), _TAIL)
    at = tail.find(_PACK)
    while at >= 0:
        end = at
        while step := _packet_bytes(tail[end : end + 14]):
            end += step
        if not tail[end:].strip(b"\0"):
            return f"its last packet lacks {end - len(tail)} bytes" if end > len(tail) else None
        at = tail.find(_PACK, max(at + 4, end))  # that was no header, but four bytes of some samples
    return None


def _packet_bytes(head: bytes) -> int:
    """Of the pack or packet that begins with `head`, 14 bytes or what is left of them; 0: none begins there."""
    if head[:3] != b"\0\0\1" or len(head) < 4 or head[3] < _PROGRAM_END:
        return 0
    if head[3] == _PROGRAM_END:
        return 4
    if len(head) < 14:
        return 14  # no whole header: more than there is
    if head[:4] == _PACK:  # of MPEG-2 with stuffing, of MPEG-1 without
        return 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
    return 6 + int.from_bytes(head[4:6], "big")


BY_CONTAINER = {"mpegts": _transport_stream, "mpeg": _program_stream}
"""By FFmpeg's name of what has no signature."""
