"""Bytes of an MP3, MP2 or AAC (ADTS) stream -> where its frames begin, and whether the last one is whole.

These streams have no container: only frames that follow each other without a gap tell them from noise, and only the
last frame's length tells that it is cut.
"""

import math
from typing import BinaryIO, NamedTuple

CHAIN = 3
"""Frames in a row that are no accident."""
_SEARCH = 1 << 16  # bytes after the tags in which the first frame must begin
_TAILS = (1 << 13, 1 << 17)  # bytes: many frames; many frames before a tag with a picture
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by version bits
_LOW_KBIT = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBIT = {  # kbit/s of the bitrate indices 1..14, by (MPEG-1, layer): ISO 11172-3 and 13818-3, table "bitrate_index"
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _LOW_KBIT,
    (False, 3): _LOW_KBIT,
}


class Frame(NamedTuple):
    """One frame's header."""

    length: int  # bytes, header and all
    kind: tuple[int, int, int]  # what every frame of a stream shares: version, layer (0: AAC), rate


def parse(head: bytes) -> Frame | None:
    """The frame that begins with `head` (7 bytes or more); None if no frame does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate = head[1] >> 3 & 3, (4 - (head[1] >> 1 & 3)) % 4, head[2] >> 2 & 3
    if layer == 0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        whole = version & 2 and length > 7 and (head[2] >> 2 & 15) < 13
        return Frame(length, (version, 0, head[2] >> 2 & 15)) if whole else None
    index, padding = head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or rate == 3 or not 0 < index < 15:  # free format (0) is not known by its header
        return None
    bits, hz = _KBIT[version == 3, layer][index - 1] * 1000, _RATES[version][rate]
    if layer == 1:
        return Frame((12 * bits // hz + padding) * 4, (version, layer, rate))
    return Frame((72 if layer == 3 and version != 3 else 144) * bits // hz + padding, (version, layer, rate))


def chain(data: bytes, begin: int, most: float = math.inf) -> tuple[int, int]:
    """(frames in a row from `begin`, at `most` so many; where the last ends: past the end of `data` if it is cut)."""
    count, position, kind = 0, begin, None
    while count < most and (frame := parse(data[position : position + 7])) and kind in (None, frame.kind):
        count, position, kind = count + 1, position + frame.length, frame.kind
    return count, position


def first_frame(stream: BinaryIO) -> int | None:
    """Byte of the first frame after any ID3 tags; None if this is no MPEG audio or AAC stream."""
    begin = 0
    while True:
        stream.seek(begin)
        head = stream.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        begin += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 16 else 0)
    stream.seek(begin)
    data = stream.read(_SEARCH)
    at = data.find(b"\xff")
    while at >= 0:
        count, end = chain(data, at, CHAIN)
        if count >= CHAIN or (at == 0 and count and len(data) < _SEARCH and end >= len(data)):
            return begin + at
        at = data.find(b"\xff", at + 1)
    return None


def missing_tail(stream: BinaryIO, begin: int, size: int) -> str | None:
    """Whether the last frame of a stream of `size` bytes, with frames from `begin` on, is cut, in words. Tags after the
    frames are no cut."""
    for length in _TAILS:
        stream.seek(max(begin, size - length))
        tail = stream.read(length)
        at = tail.find(b"\xff")
        while at >= 0:
            count, end = chain(tail, at)
            if count >= CHAIN or (at == 0 and count and end >= len(tail)):
                return _missing(tail, end)
            at = tail.find(b"\xff", at + 1)
    return None


def _missing(tail: bytes, end: int) -> str | None:
    """What lacks at the end of a stream whose last frame ends at `end` of its `tail`."""
    if end > len(tail):
        return f"its last frame lacks {end - len(tail)} bytes"
    return "its last frame is cut inside its header" if 0 < len(tail) - end < 7 and tail[end] == 0xFF else None


def xing_bytes(frame: bytes) -> int:
    """Bytes of the whole stream by the Xing (or Info) header in its first frame; 0 where there is none."""
    at = max(frame.find(b"Xing", 0, 64), frame.find(b"Info", 0, 64))
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if at < 0 or not flags & 2:
        return 0
    at += 12 if flags & 1 else 8
    return int.from_bytes(frame[at : at + 4], "big")
