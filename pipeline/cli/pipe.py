"""Standard input -> standard output, live: audio to codes, codes to audio, or both. One process, no Ray.

Audio is WAV (recognized by its header) or raw PCM; codes are JSON lines or raw int16. Every frame is written at once.
"""

import fcntl
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Self, cast

import numpy as np

from actors.contract import NUM_CODEBOOKS, SAMPLE_RATE
from actors.pools.arrow import to_pcm16
from pipeline.audio.magic import HEAD_BYTES, MPEG_BYTES, container_of, may_be_mpeg
from pipeline.audio.wav import UNKNOWN_SAMPLES, read_header, to_float, wave_header
from pipeline.errors import (
    BadCodes,
    EmptyAudio,
    NonFiniteAudio,
    OutputError,
    RecordingError,
    TruncatedAudio,
    UnsupportedAudio,
    plural,
)
from pipeline.storage.translate import reason

if TYPE_CHECKING:
    from actors.codec import Codec

READ_BYTES = 1 << 16
"""Upper limit of one read: a live source returns what is available."""
FRAME_BYTES = 2 * NUM_CODEBOOKS
REPORT_EVERY_S = 1.0
RIFFS = (b"RIFF", b"RF64", b"BW64")
KINDS = {"s16le": "i2", "f32le": "f4"}
"""ffmpeg's names of raw samples -> kinds of `pipeline.audio.wav`."""


@dataclass(frozen=True)
class Pcm:
    """The format of a stream of samples."""

    rate: int  # Hz
    channels: int
    kind: str  # as in pipeline.audio.wav
    bytes: int | None = None  # of samples; None: until the end of the stream

    def named(self) -> str:
        """For messages."""
        kind = {"i": "integers", "f": "floats", "u": "unsigned integers"}[self.kind[0]]
        return f"{self.rate} Hz, {plural(self.channels, 'channel')}, {8 * int(self.kind[1])}-bit {kind}"


RAW = Pcm(SAMPLE_RATE, 1, "i2")
"""Samples without a header, where the user does not name their format."""


def encode_stream(codec: "Codec", source: BinaryIO, sink: BinaryIO, raw: Pcm | None, as_json: bool) -> None:
    """Audio on `source` (WAV, or in the format `raw`) -> codes on `sink`.

    `raw` None: RAW, and what begins like a container is refused with UnsupportedAudio.
    """
    for codes in _encoded(codec, source, raw):
        _put(sink, _lines(codes) if as_json else codes.astype("<i2").tobytes())


def decode_stream(codec: "Codec", source: BinaryIO, sink: BinaryIO, as_json: bool, as_wav: bool) -> None:
    """Codes on `source` -> PCM 16 at 24 kHz on `sink`, after a WAV header if `as_wav`."""
    stream, frames = codec.stream_decoder(), 0
    with PcmSink(sink, as_wav) as audio:
        for codes in _read_lines(source) if as_json else _read_codes(source):
            bad = np.flatnonzero(((codes < 0) | (codes >= codec.codebook_size)).any(1))
            good = codes[: bad[0]] if len(bad) else codes
            audio.write(stream.feed(good))
            frames += len(good)
            if len(bad):
                raise BadCodes(
                    f"Frame {frames + 1} of standard input is {codes[bad[0]].tolist()}; expected codes in "
                    f"0..{codec.codebook_size - 1}."
                )


def loop_stream(codec: "Codec", source: BinaryIO, sink: BinaryIO, raw: Pcm | None, tell: Callable[[str], None]) -> None:
    """Audio on `source`, as in `encode_stream` -> codes -> WAV on `sink`. Calls `tell` every second with its speed in
    times real time."""
    decoder, heard = codec.stream_decoder(), Waited(source)
    busy_s, told = 0.0, time.monotonic()
    codes = _encoded(codec, cast(BinaryIO, heard), raw)
    with PcmSink(sink, with_header=True) as audio:
        while True:
            before, waited_s = time.perf_counter(), heard.seconds
            found = next(codes, None)
            wave = None if found is None else decoder.feed(found)
            busy_s += time.perf_counter() - before - (heard.seconds - waited_s)
            if wave is not None:
                audio.write(wave)
            if wave is None or time.monotonic() - told > REPORT_EVERY_S:
                told = time.monotonic()
                audio_s = audio.samples / SAMPLE_RATE
                tell(f"{audio_s:.1f} s, {audio_s / max(busy_s, 1e-9):.2f}x real time")
            if wave is None:
                return


class Waited:
    """`source`, and for how long it was waited: a microphone is no slower than real time."""

    def __init__(self, source: BinaryIO) -> None:
        self.source, self.seconds = source, 0.0

    def read(self, size: int) -> bytes:
        """As that of the source."""
        return self._timed(self.source.read, size)

    def read1(self, size: int) -> bytes:
        """As that of the source."""
        return self._timed(self.source.read1, size)  # type: ignore[attr-defined]

    def _timed(self, read: Callable[[int], bytes], size: int) -> bytes:
        start = time.perf_counter()
        try:
            return read(size)
        finally:
            self.seconds += time.perf_counter() - start


class PcmSink:
    """PCM 16 at 24 kHz on `sink`, after the header of a WAV if asked. That says "to the end"; where the sink is a file,
    it says how long at the end."""

    def __init__(self, sink: BinaryIO, with_header: bool) -> None:
        self.sink, self.samples = sink, 0
        self.start = sink.tell() if with_header and _is_file(sink) else None
        _put(sink, wave_header(UNKNOWN_SAMPLES) if with_header else b"")

    def __enter__(self) -> Self:
        return self

    def write(self, wave: np.ndarray) -> None:
        """float32 [T]."""
        _put(self.sink, to_pcm16(wave).astype("<i2").tobytes())
        self.samples += len(wave)

    def __exit__(self, *error: object) -> None:
        header = wave_header(self.samples)
        if self.start is not None and len(header) == len(wave_header(UNKNOWN_SAMPLES)):
            end = self.sink.tell()
            self.sink.seek(self.start)
            _put(self.sink, header)
            self.sink.seek(end)


def _encoded(codec: "Codec", source: BinaryIO, raw: Pcm | None) -> Iterator[np.ndarray]:
    """Codes int16 [F, 16], F > 0, as soon as they are known."""
    try:
        pcm, first = _begin(source, raw)
    except RecordingError as error:
        raise type(error)(f"Standard input: {error}.") from error
    stream, broken = codec.stream_encoder(rate=pcm.rate), None
    waves = _waves(source, pcm, first)
    while True:
        try:
            wave = next(waves, None)
        except (TruncatedAudio, NonFiniteAudio) as error:  # what came before is audio too
            wave, broken = None, error
        if wave is None:
            break
        codes = stream.feed(wave)
        if len(codes):
            yield codes
    codes = stream.flush()
    if len(codes):
        yield codes
    if broken is not None:
        raise broken


def _begin(source: BinaryIO, raw: Pcm | None) -> tuple[Pcm, bytes]:
    """The format of the samples, and those that are read already."""
    head = source.read(HEAD_BYTES)
    if 4 <= len(head) < HEAD_BYTES and head[:4] in RIFFS:
        raise TruncatedAudio(f"it ends after {len(head)} bytes, within the header of a WAV")
    if raw is None:
        head += source.read(MPEG_BYTES) if may_be_mpeg(head) else b""
        _refuse_container(head)
    if head[:4] in RIFFS:
        wav = _read_wav_header(head, source)
        if raw is not None and (raw.rate, raw.channels, raw.kind) != (wav.rate, wav.channels, wav.kind):
            raise UnsupportedAudio(
                f"it is a WAV of {wav.named()} by its header, and the options say {raw.named()}; leave out --rate, "
                "--channels and --samples, which are for samples without a header"
            )
        return wav, b""
    return raw or RAW, head


def _refuse_container(head: bytes) -> None:
    """Raise UnsupportedAudio for bytes that would become noise if they were taken for samples."""
    container = container_of(head)
    if container is not None:
        raise UnsupportedAudio(
            f"it begins like {container}; expected WAV or raw samples. Decode it before (ffmpeg -i FILE -f wav - | "
            "voxmill stream ...); if these are raw samples, give their format with --rate, --channels or --samples"
        )


def _read_wav_header(head: bytes, source: BinaryIO) -> Pcm:
    """Read on from the first HEAD_BYTES to the first sample; the samples themselves stay in `source`."""
    while True:
        chunk = source.read(8)
        head += chunk
        if len(chunk) < 8 or chunk[:4] == b"data":
            break
        length = int.from_bytes(chunk[4:], "little")
        head += source.read(length + length % 2)
    wav = read_header(io.BytesIO(head), len(head))
    if wav is None or not wav.kind:
        raise UnsupportedAudio("a WAV whose samples are not PCM or float; expected 8 to 32 bit PCM, float or double")
    if wav.promised == 0:
        raise EmptyAudio("a WAV of no samples by its header")
    return Pcm(wav.rate, wav.channels, wav.kind, wav.promised)


def _waves(source: BinaryIO, pcm: Pcm, first: bytes) -> Iterator[np.ndarray]:
    """Mono float32 [T] pieces, as they arrive."""
    size, held, before = pcm.channels * int(pcm.kind[1]), b"", 0
    for block in chain([first], _blocks(source, pcm.bytes)):
        held += block
        whole = len(held) // size * size
        wave = to_float(np.frombuffer(held[:whole], np.uint8), pcm.kind, pcm.channels)
        held = held[whole:]
        bad = np.flatnonzero(~np.isfinite(wave).all(1))
        yield (wave[: bad[0]] if len(bad) else wave).mean(1)
        if len(bad):
            at = (before + bad[0]) / pcm.rate
            raise NonFiniteAudio(
                f"Standard input holds NaN or infinity at {at:.3f} s; every sample must be a finite number."
            )
        before += len(wave)
    if held and pcm.bytes is None:
        raise TruncatedAudio(
            f"Standard input ends {plural(len(held), 'byte')} into a sample of {size} ({pcm.named()}); if that is not "
            "its format, say which with --rate, --channels and --samples."
        )


def _blocks(source: BinaryIO, left: int | None) -> Iterator[bytes]:
    """The next `left` bytes (None: all), as they arrive. Raises TruncatedAudio where there are fewer."""
    while left is None or left > 0:
        block = source.read1(READ_BYTES if left is None else min(READ_BYTES, left))  # type: ignore[attr-defined]
        if not block:
            if left:
                raise TruncatedAudio(f"Standard input ended {left} bytes of samples before the end in its WAV header.")
            break
        left = None if left is None else left - len(block)
        yield block


def _lines(codes: np.ndarray) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in codes.tolist()).encode()


def _read_lines(source: BinaryIO) -> Iterator[np.ndarray]:
    """JSON lines, one frame each: a list of 16 integers. All that are there come at once."""
    held, number = b"", 0
    while block := source.read1(READ_BYTES):  # type: ignore[attr-defined]
        *lines, held = (held + block).split(b"\n")
        yield from _frames(lines, number)
        number += len(lines)
        if len(held) > READ_BYTES:
            raise BadCodes(f"Line {number + 1} of standard input is no frame: it is longer than {READ_BYTES} bytes.")
    yield from _frames([held] if held else [], number)


def _frames(lines: Sequence[bytes], before: int) -> Iterator[np.ndarray]:
    """int64 [F, 16], F > 0, of the lines that follow `before` others; those before a bad one come before the error."""
    frames, broken = list[np.ndarray](), None
    try:
        frames.extend(_frame(line, number) for number, line in enumerate(lines, before + 1))
    except BadCodes as error:
        broken = error
    if frames:
        yield np.stack(frames)
    if broken is not None:
        raise broken


def _frame(line: bytes, number: int) -> np.ndarray:
    try:
        listed = json.loads(line)
        if not isinstance(listed, list) or not all(type(code) is int for code in listed):
            raise TypeError(f"found {line[:60]!r}")
        codes = np.array(listed, np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadCodes(f"Line {number} of standard input is not a JSON list of integers: {error}") from error
    if codes.shape != (NUM_CODEBOOKS,):
        raise BadCodes(f"Line {number} of standard input has shape {list(codes.shape)}; expected [{NUM_CODEBOOKS}].")
    return codes


def _read_codes(source: BinaryIO) -> Iterator[np.ndarray]:
    """Raw int16, little endian, 16 a frame."""
    held = b""
    while block := source.read1(READ_BYTES):  # type: ignore[attr-defined]
        held += block
        whole = len(held) // FRAME_BYTES * FRAME_BYTES
        if whole:
            yield np.frombuffer(held[:whole], "<i2").reshape(-1, NUM_CODEBOOKS)
        held = held[whole:]
    if held:
        raise BadCodes(f"Standard input ends {len(held)} bytes into a frame; a frame is {FRAME_BYTES} bytes of int16.")


def _is_file(sink: BinaryIO) -> bool:
    """Whether what was written can be written over: not in a pipe, and not with the shell's >>."""
    try:
        return sink.seekable() and not fcntl.fcntl(sink.fileno(), fcntl.F_GETFL) & os.O_APPEND
    except io.UnsupportedOperation:  # in memory
        return False


def _put(sink: BinaryIO, content: bytes) -> None:
    left = memoryview(content)
    try:
        while left:
            left = left[sink.write(left) :]  # unbuffered (PYTHONUNBUFFERED), it may take less
        sink.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output: cannot be written ({reason(error)}).") from error
