"""A stream of compressed audio, any container that FFmpeg knows -> blocks of float32 samples.

PyAV decodes everything but plain WAV, so that there is one behaviour for damage, gaps and lengths. soundfile was tried
beside it: it stops at the *estimated* end of a variable-bitrate MP3 without a Xing header, refuses FLAC without a
length, and loses a block before a broken frame. Where both decode, FLAC and AIFF are equal bit for bit, MP3, Vorbis
and Opus agree to 120 dB or better.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, cast

import av
import numpy as np

from pipeline.errors import EmptyAudio, NotAudio, TruncatedAudio, UnsupportedAudio
from pipeline.mpeg import first_frame

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,loas,matroska,mov,mp3,mpegts,nistsphere,ogg,tta,wav,wv"
)
"""What FFmpeg may recognise. Its playlists (HLS, concat, SDP, ...) stay out: they open other files and addresses."""
_HEADERLESS = {"mp3", "aac"}  # demuxers that find frames even in noise
_FLAC_FRAME_SAMPLES = 65_535
"""The most samples of one FLAC frame."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A recording that is ready to be decoded."""

    container: str  # FFmpeg's name of it, or "wav"
    rate: int  # Hz
    channels: int
    blocks: Callable[[int], tuple[int, Iterator[np.ndarray]]]
    """Of a sample that is wanted first: (a sample at or before it, float32 [n, channels] from there). Call it once."""


@contextmanager
def open_compressed(stream: BinaryIO, block_values: int) -> Iterator[Source]:
    """The first audio track of a binary stream. Blocks have at most `block_values` samples times channels.

    Raises NotAudio, EmptyAudio, UnsupportedAudio; while decoding TruncatedAudio where a decoder breaks.
    """
    try:
        container = av.open(
            stream,
            mode="r",
            metadata_errors="ignore",
            options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"},
        )
    except (av.FFmpegError, UnicodeError) as error:
        raise NotAudio(f"no decoder knows it ({_reason(error)})") from error
    here = stream.tell()  # FFmpeg goes on from here
    with container:
        if not container.streams.audio:
            raise NotAudio(f"it is {container.format.long_name} without any audio track")
        if container.format.name in _HEADERLESS and first_frame(stream) is None:
            raise NotAudio("no decoder knows it (no three MPEG audio frames in a row)")
        stream.seek(here)
        yield _source(container, container.streams.audio[0], block_values)


def _source(container: av.container.InputContainer, track: av.AudioStream, block_values: int) -> Source:
    if track.codec_context is None:
        raise UnsupportedAudio(f"FFmpeg has no decoder for the audio track of this {container.format.long_name}")
    flac = track.codec_context.name == "flac"
    if flac:
        track.codec_context.options = {"err_detect": "crccheck"}  # else a damaged frame is decoded to noise
    frames = _frames(container, track)
    first = next(frames, None)  # only a decoded frame knows rate and channels: implicit SBR doubles the rate
    if first is None:
        raise EmptyAudio("it has an audio track of no samples")
    rate, channels = first.sample_rate, first.layout.nb_channels

    def blocks(start: int) -> tuple[int, Iterator[np.ndarray]]:
        size = max(1, block_values // channels)
        if flac and start > 0:  # exact there, and only there: the other decoders carry state from frame to frame
            container.seek(start, stream=track)
            rest = _frames(container, track)
            found = next(rest, None)
            if found is not None and found.pts is not None and 0 <= found.pts <= start:
                return found.pts, _blocks(chain([found], rest), size)
            container.seek(0, stream=track)
            return 0, _blocks(_frames(container, track), size)
        return 0, _blocks(chain([first], frames), size)

    return Source(container.format.name, rate, channels, blocks)


def _frames(container: av.container.InputContainer, track: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Decoded frames, all of one rate and layout; raises TruncatedAudio where one is broken, or the end is missing."""
    kind, broken, refused, end = None, None, b"", 0
    packets = container.demux(track)
    while packet := _next(packets):
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except av.FFmpegError as error:
            broken, refused = error, bytes(packet)
            continue
        for frame in frames:
            if broken is not None and kind is not None:
                raise TruncatedAudio(f"a decoder broke in the middle ({_reason(broken)})") from broken
            kind = kind or (frame.sample_rate, frame.layout.name, frame.format.name)
            if kind != (frame.sample_rate, frame.layout.name, frame.format.name):
                raise UnsupportedAudio(f"it changes from {kind} to {frame.sample_rate, frame.layout.name} on its way")
            end = (frame.pts or 0) + frame.samples
            yield frame
    flac = track.codec_context.name == "flac"
    left_out = 0
    if broken is not None and container.format.name not in _HEADERLESS:  # there, tags may follow; `intact` finds cuts
        if not (flac and refused and _crc16(refused) == 0):
            raise TruncatedAudio(f"a decoder broke at its end ({_reason(broken)})") from broken
        log.warning("the last FLAC frame (%d bytes) is whole, but no decoder takes it: left out", len(refused))
        left_out = _FLAC_FRAME_SAMPLES
    if flac and track.duration is not None and end + left_out < track.duration:
        raise TruncatedAudio(f"its header promises {track.duration} samples, {end} could be decoded")


def _next(packets: Iterator[av.Packet]) -> av.Packet | None:
    try:
        return next(packets, None)
    except av.FFmpegError as error:
        raise TruncatedAudio(f"it breaks off ({_reason(error)})") from error


def _crc16(data: bytes) -> int:
    """FLAC's frame checksum (polynomial 0x8005); 0 over a whole frame with its footer.

    It tells a cut last frame from one that FFmpeg 2.x wrote with partitions that do not divide its samples: that one
    is whole, but every decoder of today refuses it.
    """
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _blocks(frames: Iterator[av.AudioFrame], block_samples: int) -> Iterator[np.ndarray]:
    """Frames -> float32 [n, channels], n <= `block_samples`; what was decoded before a break is delivered before it."""
    held: list[np.ndarray] = []
    broken = None
    try:
        for frame in frames:
            held.append(to_float(frame))
            if sum(map(len, held)) >= block_samples:
                joined, held = np.concatenate(held), []
                yield from (joined[at : at + block_samples] for at in range(0, len(joined), block_samples))
    except (TruncatedAudio, UnsupportedAudio) as error:
        broken = error
    if held:
        yield np.concatenate(held)
    if broken is not None:
        raise broken


def to_float(frame: av.AudioFrame) -> np.ndarray:
    """One decoded frame -> float32 [n, channels], C order; integers become [-1, 1) as in soundfile."""
    wave = frame.to_ndarray()
    wave = wave.T if frame.format.is_planar else wave.reshape(-1, frame.layout.nb_channels)
    bits = 8 * wave.itemsize
    kind = wave.dtype.kind
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is reported as such
        wave = np.ascontiguousarray(wave, np.float32)
    if kind == "u":
        wave = wave - np.float32(128)
    return wave if kind == "f" else wave * np.float32(2.0 ** (1 - bits))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
