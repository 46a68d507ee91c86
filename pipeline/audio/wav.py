"""A RIFF, RF64 or W64 header -> where the samples lie; then windows of the file, memory-mapped -> blocks of samples.

libsndfile reads WAV as well, but cannot map it and hides what the header promised; the floats here equal its floats.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.errors import NotAudio, TruncatedAudio, UnsupportedAudio

_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_WAVE = bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # a WAVE_FORMAT_EXTENSIBLE code is a plain one before this
_EXTENSIBLE = 0xFFFE
_KINDS = {(1, 8): "u1", (1, 16): "i2", (1, 24): "i3", (1, 32): "i4", (1, 64): "i8", (3, 32): "f4", (3, 64): "f8"}
_MAX_CHUNKS = 10_000  # before the samples: more is no recorder's work
UNKNOWN_SAMPLES = (0xFFFFFFFF - 36) // 2 - 1
"""Of the longest plain WAV, mono PCM 16: what `wave_header` is given for a live stream, as other writers do."""
_STREAMED = {0xFFFFFFFF, 0x7FFFFFFF, 2**63 - 1 - 24, 2**64 - 1 - 24, 2**64 - 1, 2 * UNKNOWN_SAMPLES}
"""Data sizes of writers that could not know them: ffmpeg, W64 less its header, `voxmill stream`. Others: see
`_endless`."""


@dataclass(frozen=True)
class Wav:
    """Where the samples of a WAV lie."""

    rate: int  # Hz
    channels: int
    kind: str  # a value of _KINDS, little endian; "" for what only a decoder reads (A-law, ADPCM)
    begin: int  # byte of the first sample
    promised: int | None  # bytes of samples that the header promises; None where it says "until the end of the file"
    present: int  # bytes of samples that are there

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return int(self.kind[1]) * self.channels

    @property
    def samples(self) -> int:
        """Samples per channel that are there."""
        return self.present // self.frame_bytes


def read_header(stream: BinaryIO, size: int) -> Wav | None:
    """The header of a file of `size` bytes; None if it is no RIFF, RF64 or W64 WAV.

    Raises TruncatedAudio where the file ends before its samples begin, NotAudio where the header makes no sense,
    UnsupportedAudio for RIFX, whose samples FFmpeg takes for little-endian ones.
    """
    stream.seek(0)
    head = stream.read(40)
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        raise UnsupportedAudio("it is a WAV of big-endian samples (RIFX); write it as RIFF, as soundfile and sox do")
    wide = head[:16] == _W64_RIFF and head[24:40] == _W64_WAVE
    if not wide and (head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE"[: len(head[8:12])]):
        return None
    riff_bytes = int.from_bytes(head[16:24] if wide else head[4:8], "little")
    form = data64 = None
    for name, begin, length in _chunks(stream, size, wide):
        if name == b"ds64":
            riff_bytes, data64 = struct.unpack("<QQ", _body(stream, begin, 16))
        elif name == b"fmt ":
            form = _format(_body(stream, begin, min(length, 40)))
        elif name == b"data":
            if form is None:
                raise NotAudio("its data chunk comes before any fmt chunk, so the samples' format is unknown")
            if data64 is not None and length == 0xFFFFFFFF:
                length = data64
            rate, channels, kind, align = form
            riff_ends_here = riff_bytes + (0 if wide else 8) <= begin or riff_bytes == 0xFFFFFFFF or data64 == 0
            endless = _endless(length, align, riff_ends_here)
            promised = None if endless else length
            present = size - begin if promised is None else min(promised, size - begin)
            return Wav(rate, channels, kind, begin, promised, present)
    raise TruncatedAudio(f"its {size} bytes end before the samples begin (a WAV header without a data chunk)")


def _endless(length: int, align: int, riff_ends_here: bool) -> bool:
    """Whether a data size stands for "until the end of the file": a streaming writer could not come back to it.

    sox writes the most whole frames, of `align` bytes, up to 0x7FFFF000, arecord up to 0x80000000 (into a pipe, 1.2.8)
    or 0x7FFFFF00; Python's wave and others write 0.
    """
    most = any(0 <= end - length < align for end in (0x7FFFF000, 0x7FFFFF00, 0x80000000))
    return length in _STREAMED or (length == 0 and riff_ends_here) or most


def _chunks(stream: BinaryIO, size: int, wide: bool) -> Iterator[tuple[bytes, int, int]]:
    """(name, first byte of the body, length of the body) of each chunk, in order; W64's are 64 bits wide."""
    position = 40 if wide else 12
    for _ in range(_MAX_CHUNKS):
        header = 24 if wide else 8
        if position + header > size:
            return
        raw = _body(stream, position, header)
        length = int.from_bytes(raw[16:24], "little") - header if wide else int.from_bytes(raw[4:8], "little")
        if length < 0:
            raise NotAudio(f"its chunk {raw[:4]!r} claims {length + header} bytes, fewer than its own header")
        yield raw[:4], position + header, length
        position += header + length + (-length % 8 if wide else length % 2)
    raise NotAudio(f"it has more than {_MAX_CHUNKS} chunks before any samples")


def _body(stream: BinaryIO, begin: int, length: int) -> bytes:
    stream.seek(begin)
    raw = stream.read(length)
    if len(raw) < length:
        raise TruncatedAudio(f"it ends at byte {begin + len(raw)}, inside its header")
    return raw


def _format(body: bytes) -> tuple[int, int, str, int]:
    """(rate, channels, kind, bytes of one frame) of a fmt chunk."""
    if len(body) < 16:
        raise NotAudio(f"its fmt chunk has {len(body)} bytes, expected 16 or more")
    code, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", body)
    if code == _EXTENSIBLE and len(body) == 40 and body[26:40] == _GUID_TAIL:
        code = int.from_bytes(body[24:26], "little")
    kind = _KINDS.get((code, bits), "")
    return rate, channels, kind if channels and align == channels * bits // 8 else "", align


def wav_blocks(stream: BinaryIO, wav: Wav, start: int, block_samples: int, mapped: bool) -> Iterator[np.ndarray]:
    """float32 [n, channels], n <= `block_samples`, from sample `start` to the end of what is there.

    `mapped`: the stream is a local file; a window of one block is mapped at a time, so that memory does not grow with
    length, and a file that shrinks meanwhile is noticed. Raises TruncatedAudio for such a one.
    """
    for first in range(start, wav.samples, block_samples):
        begin = wav.begin + first * wav.frame_bytes
        length = min(block_samples, wav.samples - first) * wav.frame_bytes
        if mapped:
            yield _mapped(stream, begin, length, wav)
        else:
            yield to_float(np.frombuffer(_body(stream, begin, length), np.uint8), wav.kind, wav.channels)


def _mapped(stream: BinaryIO, begin: int, length: int, wav: Wav) -> np.ndarray:
    lead = begin % mmap.ALLOCATIONGRANULARITY
    try:
        window = mmap.mmap(stream.fileno(), lead + length, access=mmap.ACCESS_READ, offset=begin - lead)
    except ValueError as error:  # the only one with these arguments: longer than the file
        raise TruncatedAudio(f"it shrank below {begin + length} bytes while it was read") from error
    # the map goes with its last view; closed here, one that garbage still holds would be an error
    return to_float(np.frombuffer(window, np.uint8, length, lead), wav.kind, wav.channels)


def to_float(raw: np.ndarray, kind: str, channels: int) -> np.ndarray:
    """uint8 [bytes] of samples of `kind` -> a new float32 [n, channels]; integers become [-1, 1)."""
    if kind == "i3":
        padded = np.zeros((len(raw) // 3, 4), np.uint8)  # the three bytes become the upper ones of an int32
        padded[:, 1:] = raw.reshape(-1, 3)
        raw, kind = padded.reshape(-1), "i4"
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is reported as such
        wave = raw.view("<" + kind).astype(np.float32)
    if kind == "u1":
        wave -= 128
    if kind[0] != "f":
        wave *= 2.0 ** (1 - 8 * int(kind[1]))
    return wave.reshape(-1, channels)


def wave_header(num_samples: int) -> bytes:
    """The header of a mono PCM 16 WAV of `num_samples` at 24 kHz; RF64 (EBU Tech 3306) where 32 bits do not suffice."""
    size, rate = 2 * num_samples, SAMPLE_RATE
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    if size + 36 < 1 << 32:
        return struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + layout + struct.pack("<4sI", b"data", size)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 72, size, num_samples, 0)
    full = 0xFFFFFFFF  # says: look in ds64
    return struct.pack("<4sI4s", b"RF64", full, b"WAVE") + sizes + layout + struct.pack("<4sI", b"data", full)
