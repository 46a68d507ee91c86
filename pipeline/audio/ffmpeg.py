"""A stream of compressed audio, any container that FFmpeg knows -> blocks of float32 samples.

PyAV decodes everything but plain WAV, so that there is one behaviour for damage, gaps and lengths. soundfile was tried
beside it: it stops at the *estimated* end of a variable-bitrate MP3 without a Xing header, refuses FLAC without a
length, and loses a block before a broken frame. Where both decode, FLAC and AIFF are equal bit for bit, MP3, Vorbis
and Opus agree to 120 dB or better.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, cast

import av
import numpy as np

from pipeline.audio.mpeg import first_frame, parse
from pipeline.errors import EmptyAudio, NotAudio, TruncatedAudio, UnsupportedAudio

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,loas,matroska,mov,mp3,mpegts,nistsphere,ogg,tta,wav,wv"
)
"""What FFmpeg may recognise. Its playlists (HLS, concat, SDP, ...) stay out: they open other files and addresses."""
_HEADERLESS = {"mp3", "aac"}  # demuxers that find frames even in noise
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # how tags of MP3 files begin
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
    flac = container.format.name == "flac"
    if flac:
        track.codec_context.options = {"err_detect": "crccheck+explode"}  # else damage becomes noise
    frames = _frames(container, track)
    first = next(frames, None)  # only a decoded frame knows rate and channels: implicit SBR doubles the rate
    if first is None:
        raise EmptyAudio("it has an audio track of no samples")
    rate, channels = first.sample_rate, first.layout.nb_channels

    def blocks(start: int) -> tuple[int, Iterator[np.ndarray]]:
        size = max(1, block_values // channels)
        if flac and start > 0:  # exact there, and only there: the other decoders carry state from frame to frame
            position, found = _seek(container, track, start)
            return position, _blocks(found, size)
        return 0, _blocks(chain([first], frames), size)

    return Source(container.format.name, rate, channels, blocks)


def _seek(
    container: av.container.InputContainer, track: av.AudioStream, start: int
) -> tuple[int, Iterator[av.AudioFrame]]:
    """(a sample at or before `start`, frames from there on). FFmpeg refuses some places near the end of sound files."""
    for target in (start, start - 10 * track.rate):
        with suppress(av.FFmpegError):
            container.seek(max(0, target), stream=track)
            frames = _frames(container, track, resumed=True)
            first = next(frames, None)
            if first is not None and first.pts is not None and 0 <= first.pts <= start:
                return first.pts, chain([first], frames)
    try:
        container.seek(0, stream=track)
    except av.FFmpegError as error:
        raise TruncatedAudio(f"it cannot be read from sample {start} on ({_reason(error)})") from error
    return 0, _frames(container, track)


def _frames(
    container: av.container.InputContainer, track: av.AudioStream, resumed: bool = False
) -> Iterator[av.AudioFrame]:
    """As `_decoded`, the last one without the padding of its encoder. Only MP4 tells: by the last packet's duration."""
    held = None
    try:
        for frame, samples in _decoded(container, track, resumed):
            if held is not None:
                yield held[0]
            held = frame, samples
    except (TruncatedAudio, UnsupportedAudio):
        if held is not None:
            yield held[0]
        raise
    if held is not None:
        yield _cut(*held)


def _cut(frame: av.AudioFrame, samples: int) -> av.AudioFrame:
    """The first `samples` of `frame`."""
    if not 0 < samples < frame.samples:
        return frame
    values = samples if frame.format.is_planar else samples * frame.layout.nb_channels
    wave: Any = np.ascontiguousarray(frame.to_ndarray()[:, :values])
    cut = av.AudioFrame.from_ndarray(wave, format=frame.format.name, layout=frame.layout.name)
    cut.sample_rate, cut.pts = frame.sample_rate, frame.pts
    return cut


def _decoded(
    container: av.container.InputContainer, track: av.AudioStream, resumed: bool
) -> Iterator[tuple[av.AudioFrame, int]]:
    """Frames, all of one rate and layout, from the start or (`resumed`) from where a seek went; and of each the samples
    that its packet says it has.

    Raises TruncatedAudio where one is broken, or the end is missing.
    """
    kind, broken, refused = None, None, b""
    end = None if resumed else 0
    flac, mp4 = container.format.name == "flac", "mp4" in container.format.name
    packets = container.demux(track)
    while packet := _next(packets):
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except av.FFmpegError as error:
            if not bytes(packet).startswith(_TAGS):  # these stand where files were joined
                broken, refused = error, bytes(packet)
            continue
        for frame in frames:
            if broken is not None and kind is not None:
                raise TruncatedAudio(f"a decoder broke in the middle ({_reason(broken)})") from broken
            kind = kind or (frame.sample_rate, frame.layout.name, frame.format.name)
            if kind != (frame.sample_rate, frame.layout.name, frame.format.name):
                raise UnsupportedAudio(f"it changes from {kind} to {frame.sample_rate, frame.layout.name} on its way")
            if flac and end is not None and frame.pts is not None and frame.pts > end:
                raise TruncatedAudio(f"{frame.pts - end} samples are missing after sample {end}")
            end = frame.samples + (frame.pts if frame.pts is not None else end or 0)
            told_s = packet.duration * packet.time_base if mp4 and packet.duration and packet.time_base else None
            yield frame, frame.samples if told_s is None else round(told_s * frame.sample_rate)
    if broken is not None and (container.format.name not in _HEADERLESS or parse(refused)):  # else bytes after the end
        if not flac or not refused or _crc16(refused) != 0:
            raise TruncatedAudio(f"a decoder broke at its end ({_reason(broken)})") from broken
        log.warning("the last FLAC frame (%d bytes) is whole, but no decoder takes it: left out", len(refused))
        end = (end or 0) + _FLAC_FRAME_SAMPLES
    if flac and track.duration is not None and (end or 0) < track.duration:
        raise TruncatedAudio(f"its header promises {track.duration} samples, {end or 0} could be decoded")


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
    samples, channels, broken = 0, 0, None
    try:
        for frame in frames:
            held.append(frame.to_ndarray())  # as decoded: one conversion a block is much cheaper than one a frame
            samples, channels = samples + frame.samples, frame.layout.nb_channels
            if samples >= block_samples:
                joined, held, samples = to_float(held, channels), [], 0
                yield from (joined[at : at + block_samples] for at in range(0, len(joined), block_samples))
    except (TruncatedAudio, UnsupportedAudio) as error:
        broken = error
    if held:
        yield to_float(held, channels)
    if broken is not None:
        raise broken


def to_float(frames: list[np.ndarray], channels: int) -> np.ndarray:
    """Frames as PyAV gives them, planar [channels, n] or packed [1, n * channels] -> float32 [n, channels], C order.

    Integers become [-1, 1) as in soundfile.
    """
    wave = frames[0] if len(frames) == 1 else np.concatenate(frames, axis=1)
    wave = wave.T if len(wave) == channels else wave.reshape(-1, channels)
    bits = 8 * wave.itemsize
    kind = wave.dtype.kind
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is reported as such
        wave = np.ascontiguousarray(wave, np.float32)
    if kind == "u":
        wave = wave - np.float32(128)
    return wave if kind == "f" else wave * np.float32(2.0 ** (1 - bits))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
