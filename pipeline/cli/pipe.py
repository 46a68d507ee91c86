"""Standard input -> standard output, live: audio to codes, codes to audio, or both. One process, no Ray.

Audio is WAV (recognized by its header) or raw PCM; codes are JSON lines or raw int16. Every frame is written at once.
"""

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

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
    stream = codec.stream_decoder()
    _put(sink, wave_header(UNKNOWN_SAMPLES) if as_wav else b"")
    for codes in _read_lines(source) if as_json else _read_codes(source):
        _put(sink, to_pcm16(stream.feed(codes)).astype("<i2").tobytes())


def loop_stream(codec: "Codec", source: BinaryIO, sink: BinaryIO, raw: Pcm | None, tell: Callable[[str], None]) -> None:
    """Audio on `source`, as in `encode_stream` -> codes -> WAV on `sink`. Calls `tell` every second with its speed in
    times real time."""
    decoder = codec.stream_decoder()
    _put(sink, wave_header(UNKNOWN_SAMPLES))
    samples, busy_s, told = 0, 0.0, time.monotonic()
    codes = _encoded(codec, source, raw)
    while True:
        before = time.process_time()  # does not count waiting for a microphone
        found = next(codes, None)
        if found is not None:
            wave = decoder.feed(found)
            samples += len(wave)
            _put(sink, to_pcm16(wave).astype("<i2").tobytes())
        busy_s += time.process_time() - before
        if found is None or time.monotonic() - told > REPORT_EVERY_S:
            told = time.monotonic()
            audio_s = samples / SAMPLE_RATE
            tell(f"{audio_s:.1f} s, {audio_s / max(busy_s, 1e-9):.2f}x real time")
        if found is None:
            return


def _encoded(codec: "Codec", source: BinaryIO, raw: Pcm | None) -> Iterator[np.ndarray]:
    """Codes int16 [F, 16], F > 0, as soon as they are known."""
    try:
        pcm, first = _begin(source, raw)
    except RecordingError as error:
        raise type(error)(f"Standard input: {error}.") from error
    stream, broken = codec.stream_encoder(rate=pcm.rate), None
    try:
        for wave in _waves(source, pcm, first):
            codes = stream.feed(wave)
            if len(codes):
                yield codes
    except TruncatedAudio as error:  # what came before is audio too
        broken = error
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
    size, held = pcm.channels * int(pcm.kind[1]), b""
    for block in chain([first], _blocks(source, pcm.bytes)):
        held += block
        whole = len(held) // size * size
        wave = to_float(np.frombuffer(held[:whole], np.uint8), pcm.kind, pcm.channels)
        held = held[whole:]
        if not np.isfinite(wave).all():
            raise NonFiniteAudio("Standard input holds NaN or infinity; every sample must be a finite number.")
        yield wave.mean(1)
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
    """JSON lines, one frame each: a list of 16 integers."""
    for number, line in enumerate(source, 1):
        try:
            listed = json.loads(line)
            if not isinstance(listed, list) or not all(type(code) is int for code in listed):
                raise TypeError(f"found {line[:60]!r}")
            codes = np.array(listed, np.int64)
        except (ValueError, TypeError, OverflowError) as error:
            raise BadCodes(f"Line {number} of standard input is not a JSON list of integers: {error}") from error
        if codes.shape != (NUM_CODEBOOKS,):
            raise BadCodes(
                f"Line {number} of standard input has shape {list(codes.shape)}; expected [{NUM_CODEBOOKS}]."
            )
        yield codes[None]


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


def _put(sink: BinaryIO, content: bytes) -> None:
    try:
        sink.write(content)
        sink.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output: cannot be written ({reason(error)}).") from error
