"""A stream of compressed audio, any container that FFmpeg knows -> blocks of float32 samples.

PyAV decodes everything but plain WAV, so that there is one behaviour for damage, gaps and lengths. soundfile was tried
beside it: it stops at the *estimated* end of a variable-bitrate MP3 without a Xing header, refuses FLAC without a
length, and loses a block before a broken frame. Its FLAC decoder notices every wrong checksum, but gives silence for a
frame that is not there, and frames in any order, without a word; only the MD5 of all samples would tell, and to compute
that takes what its decoder saves (reading with both, measured twice: 0.96 and 1.02 times as fast as FFmpeg for 10 s at
16 kHz mono, 1.10 and 1.12 for 1 s, 0.90 and 0.93 for 10 s at 44.1 kHz stereo). Where both decode, FLAC and AIFF are
equal bit for bit, MP3, Vorbis and Opus agree to 120 dB or better (Opus that says 48 kHz: libsndfile decodes others at
the rate that they say they once had, which is the same sound to 11 to 38 dB).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.audio.plane import AudioPlane

from pipeline.audio.mpeg import first_frame, parse
from pipeline.audio.source import Source
from pipeline.audio.sphere import HEADER_BYTES, refuse_compressed
from pipeline.audio.sphere import MAGIC as SPHERE
from pipeline.audio.tracks import choose, decoder
from pipeline.errors import EmptyAudio, NotAudio, TruncatedAudio, UnsupportedAudio

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,loas,"
    "matroska,mov,mp3,mpeg,mpegts,nistsphere,ogg,tta,w64,wav,wv"
)
"""What FFmpeg may recognise. Its playlists (HLS, concat, SDP, ...) stay out: they open other files and addresses."""
_LIMITS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}
_HEADERLESS = {"mp3", "aac"}  # demuxers that find frames even in noise
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # how tags of MP3 files begin
_FLAC_FRAME_SAMPLES = 65_535
"""The most samples of one FLAC frame."""

_FILE_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}
"""By how many channels a Vorbis or Opus file has: where FFmpeg, which gives them in the order of WAV, puts each of them
(Vorbis I specification, 4.3.9). In the file's own order they count as in soundfile, and in manifests made with it."""

_KINDS = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
"""FFmpeg's formats of samples; planar ones end in p."""

READ_BYTES = 1 << 16
"""What FFmpeg asks a stream for at a time: each time is a call of Python. More makes each opening slower."""

log = logging.getLogger(__name__)


@contextmanager
def open_compressed(stream: BinaryIO, block_values: int, track: int | None) -> Iterator[Source]:
    """An audio track of a binary stream (see `choose`). Blocks have at most `block_values` samples times channels.

    Raises NotAudio, EmptyAudio, UnsupportedAudio, NoSuchTrack; while decoding TruncatedAudio where a decoder breaks.
    """
    head = stream.read(8)
    if head == SPHERE:
        refuse_compressed(head + stream.read(HEADER_BYTES))
    stream.seek(0)
    flac = head[:4] == b"fLaC"  # to try all takes 0.1 ms, half a second's decoding; to limit what is tried, a quarter
    try:
        container = av.open(
            stream,
            mode="r",
            format="flac" if flac else None,
            metadata_errors="ignore",
            buffer_size=READ_BYTES,
            options={} if flac else _LIMITS,
        )
    except (av.FFmpegError, UnicodeError) as error:
        raise NotAudio(f"no decoder knows it ({_reason(error)})") from error
    here = stream.tell()  # FFmpeg goes on from here
    with container:
        chosen = choose(container, track)
        if container.format.name in _HEADERLESS and first_frame(stream) is None:
            raise NotAudio("no decoder knows it (no three MPEG audio frames in a row)")
        context, end = chosen.codec_context, None
        if container.format.name == "ogg" and context is not None and context.name == "vorbis":
            end = _end_of_only_page(stream)
        stream.seek(here)
        yield _source(container, chosen, block_values, end)


def _end_of_only_page(stream: BinaryIO) -> int | None:
    """Of Ogg Vorbis whose sound is all in one page, as of half a second of speech: the samples it holds, by the page's
    granule position. None of others.

    FFmpeg 8 counts a first page that is the last one, too, from the output of the first packet, which is dropped, and
    cuts too much, or nothing.
    """
    position, end = 0, None
    while True:
        stream.seek(position)
        head = stream.read(27 + 255)
        if len(head) < 27 or head[:4] != b"OggS":
            return end
        granule = int.from_bytes(head[6:14], "little", signed=True)
        if granule > 0:  # 0 in pages of headers, -1 where no packet ends
            if end is not None:
                return None
            end = granule
        position += 27 + head[26] + sum(head[27 : 27 + head[26]])


def _until(frames: Iterator[av.AudioFrame], end: int) -> Iterator[av.AudioFrame]:
    """Vorbis without the first packet's frame, which only fills the decoder, up to `end` samples."""
    next(frames, None)
    for frame in frames:  # to the last one: what breaks behind the end is told, too
        if end > 0:
            yield _cut(frame, end)
        end -= frame.samples


def _source(
    container: av.container.InputContainer, track: av.AudioStream, block_values: int, end: int | None
) -> Source:
    if track.codec_context is None:
        raise UnsupportedAudio(f"FFmpeg has no decoder for the audio track of this {container.format.long_name}")
    flac = container.format.name == "flac"
    if flac:
        track.codec_context.options = {"err_detect": "crccheck+explode"}  # else damage becomes noise
    if (container.format.name, track.codec_context.name) == ("caf", "alac"):
        # its last packet has its own length: FFmpeg's CAF reader cuts it again
        track.codec_context.options = {"flags2": "+skip_manual"}
    frames = _frames(container, track)
    if end is not None:
        track.codec_context.options = {"flags2": "+skip_manual"}
        frames = _until(frames, end)
    first = next(frames, None)  # only a decoded frame knows rate and channels: implicit SBR doubles the rate
    if first is None:
        raise EmptyAudio("it has an audio track of no samples")
    rate, channels = first.sample_rate, first.layout.nb_channels
    has_places = not any(word in first.layout.name for word in ("channels", "ambisonic"))
    order = _FILE_ORDER.get(channels) if track.codec_context.name in ("vorbis", "opus") and has_places else None

    def blocks(start: int) -> tuple[int, Iterator[np.ndarray]]:
        size = max(1, block_values // channels)
        if flac and start > 0:  # exact there, and only there: the other decoders carry state from frame to frame
            position, later = _seek(container, track, start)
            return position, _blocks(later, size)
        found = _blocks(chain([first], frames), size)
        return 0, (block[:, order] for block in found) if order else found

    likely = None if container.duration is None else container.duration * rate // av.time_base
    return Source(container.format.name, rate, channels, blocks, from_anywhere=flac, likely=likely)


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
    if "mp4" not in container.format.name:
        return _decoded(container, track, resumed)
    packet: list[av.Packet] = []
    return _without_padding(_decoded(container, track, resumed, packet), packet)


def _without_padding(frames: Iterator[av.AudioFrame], packet: list[av.Packet]) -> Iterator[av.AudioFrame]:
    held = None
    try:
        for frame in frames:
            if held is not None:
                yield held
            held = frame
    except TruncatedAudio:
        if held is not None:
            yield held
        raise
    if held is not None:
        duration, base = packet[0].duration, packet[0].time_base
        yield _cut(held, round(duration * base * held.sample_rate)) if duration and base else held


def _cut(frame: av.AudioFrame, samples: int) -> av.AudioFrame:
    """The first `samples` of `frame`."""
    if not 0 < samples < frame.samples:
        return frame
    fifo, begin = av.AudioFifo(), frame.pts
    frame.pts = None  # else the first must begin at 0
    fifo.write(frame)
    cut = cast(av.AudioFrame, fifo.read(samples))
    cut.pts = begin
    return cut


def _decoded(
    container: av.container.InputContainer, track: av.AudioStream, resumed: bool, of: list[av.Packet] | None = None
) -> Iterator[av.AudioFrame]:
    """Frames, from the start or (`resumed`) from where a seek went; `of` holds the packet of the last that was given.

    Raises TruncatedAudio where one is broken, or the end is missing.
    """
    some, broken, refused = False, None, b""
    end = None if resumed else 0
    flac, decode = container.format.name == "flac", decoder(track).decode
    try:
        for packet in _packets(container, track):
            try:
                frames = decode(packet)
            except av.FFmpegError as error:
                if not bytes(packet).startswith(_TAGS):  # these stand where files were joined
                    broken, refused = error, bytes(packet)
                continue
            for frame in frames:
                if broken is not None and some:
                    raise TruncatedAudio(f"a decoder broke in the middle ({_reason(broken)})") from broken
                if flac:
                    if end is not None and frame.pts is not None and frame.pts > end:
                        raise TruncatedAudio(f"{frame.pts - end} samples are missing after sample {end}")
                    end = frame.samples + (frame.pts if frame.pts is not None else end or 0)
                if of is not None:
                    of[:] = [packet]
                some = True
                yield frame
    except av.FFmpegError as error:
        raise TruncatedAudio(f"it breaks off ({_reason(error)})") from error
    if broken is not None and not _is_rest(container.format.name, refused):
        if not flac or not refused or _crc16(refused) != 0:
            raise TruncatedAudio(f"a decoder broke at its end ({_reason(broken)})") from broken
        log.warning("the last FLAC frame (%d bytes) is whole, but no decoder takes it: left out", len(refused))
        end = (end or 0) + _FLAC_FRAME_SAMPLES
    if flac and track.duration is not None and (end or 0) < track.duration:
        raise TruncatedAudio(f"its header promises {track.duration} samples, {end or 0} could be decoded")


def _packets(container: av.container.InputContainer, track: av.AudioStream) -> Iterator[av.Packet]:
    """All of the track, then an empty one. Where streams came up on the way (the program of an MPEG transport stream
    changes), PyAV looks at the end for more than its list has; that of the track, which comes before, is there then."""
    with suppress(IndexError):
        yield from container.demux(track)


def _is_rest(container: str, refused: bytes) -> bool:
    """Whether what no decoder took at the end is no part of the sound: sox counts a WAV's pad byte as samples."""
    return (container in _HEADERLESS and not parse(refused)) or (container == "wav" and len(refused) == 1)


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
    """Frames -> float32 [n, channels], n <= `block_samples`; what was decoded before a break is delivered before it.

    Raises UnsupportedAudio where rate or channels change.
    """
    fifo, broken = av.AudioFifo(), None  # joins frames in C: an array a frame takes as long as decoding MP3
    channels = 0
    try:
        for frame in frames:
            frame.pts = None  # else frames must follow each other by their times
            count = frame.layout.nb_channels
            try:
                if channels not in (0, count):  # the FIFO does not look, and reads planes that are not there
                    raise ValueError
                fifo.write(frame)
            except ValueError:
                before, now = ((one.sample_rate, one.layout.name, one.format.name) for one in (fifo, frame))
                raise UnsupportedAudio(f"it changes from {before} to {now} on its way") from None
            channels = count
            while fifo.samples >= block_samples:
                yield to_float(cast(av.AudioFrame, fifo.read(block_samples)))
    except (TruncatedAudio, UnsupportedAudio) as error:
        broken = error
    if fifo.samples:
        yield to_float(cast(av.AudioFrame, fifo.read()))
    if broken is not None:
        raise broken


def to_float(frame: av.AudioFrame) -> np.ndarray:
    """A frame -> float32 [n, channels], Fortran order of planar ones. Integers become [-1, 1) as in soundfile.

    One plane of float32 is not copied: the array keeps the frame.
    """
    kind, channels = np.dtype(_KINDS[frame.format.name.removesuffix("p")]), frame.layout.nb_channels
    many = channels if frame.format.is_planar else 1  # `frame.planes` reads on behind the last of 8 and more
    count = frame.samples * channels // many
    planes = [np.frombuffer(cast(Any, AudioPlane(frame, number)), kind, count) for number in range(many)]
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is reported as such
        if len(planes) == 1:
            wave = planes[0].reshape(-1, channels).astype(np.float32, copy=False)
        else:
            wave = np.stack(planes, dtype=np.float32, casting="same_kind").T
    if kind.kind == "u":
        wave -= np.float32(128)
    if kind.kind != "f":
        wave *= np.float32(2.0 ** (1 - 8 * kind.itemsize))
    return wave


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
