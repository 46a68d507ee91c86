"""One recording, a seekable stream in any audio format -> blocks of float32 [n, channels], in flat memory.

Plain WAV on a local path is memory-mapped; FFmpeg decodes everything else. Content decides, never the suffix.
"""

import io
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.audio.ffmpeg import Source, open_compressed
from pipeline.audio.guarded import Guarded
from pipeline.audio.truncation import missing_end
from pipeline.audio.wav import Wav, read_header, wav_blocks
from pipeline.errors import (
    EmptyAudio,
    NonFiniteAudio,
    NoSuchTrack,
    NotAudio,
    RecordingError,
    SegmentOutside,
    TooLong,
    TruncatedAudio,
    UnreadableAudio,
    UnsupportedAudio,
)

BLOCK_VALUES = 1 << 17
"""Samples times channels of one block, about: half a megabyte."""
RATES = range(4_000, 192_001)
"""Hz that are read."""
MAX_CHANNELS = 1_024
"""libsndfile's limit; more is a header that lies."""
LONGEST_S = 1e9
"""No start or end lies later (30 years)."""
END_TOLERANCE_S = 0.1
"""How far `end_s` may lie after the end: manifests round, and lossy formats pad."""

_ADVICE = {
    NotAudio: "Expected wav, flac, ogg, mp3, m4a or another format of README's Inputs: convert it or take it out",
    TruncatedAudio: "Fetch or export it again, or set input.allow_truncated to keep what can be decoded",
    EmptyAudio: "Expected at least one: take it out of the inputs",
    UnsupportedAudio: "Convert it to a common codec at 4-192 kHz, one rate and layout throughout",
    NonFiniteAudio: "Export it again from finite samples",
    SegmentOutside: "Mend start_s and end_s in the manifest",
    NoSuchTrack: "Set input.track to one that it has, or leave it out for the default one",
    TooLong: "Cut it, or raise input.max_recording_s",
    UnreadableAudio: "Check the path, its permissions and the network",
}
_QUERY = re.compile(r"(://)[^/@\s]*@|(\?)[^\s'\"]*")  # user names and signatures in an address


@dataclass(frozen=True)
class Audio:
    """A recording that is being read."""

    rate: int  # Hz
    channels: int
    blocks: Iterator[np.ndarray]  # float32 [n, channels], 0 < n <= BLOCK_VALUES, finite; raises RecordingError


@dataclass(frozen=True)
class Limits:
    """What of a recording is wanted, and what is accepted."""

    start_s: float
    end_s: float | None
    allow_truncated: bool
    max_recording_s: float
    track: int | None


@contextmanager
def open_audio(
    file: BinaryIO,
    name: str,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
    max_recording_s: float = 86_400.0,
    track: int | None = None,
) -> Iterator[Audio]:
    """Read `file`, a seekable binary stream, from `start_s` to `end_s` (the end if None); WAV in a FileIO is mapped.

    `track`: which audio track of a container with several, from 1; None: the default one, else the first.

    Every problem raises a RecordingError that begins with `name` and says what was seen, what was expected, what to
    change: here, or when `blocks` comes to it. After the last block the recording is known to be whole (unless
    `allow_truncated`: then the decodable part is delivered and no word said), finite, no longer than `max_recording_s`
    (counted from its start, in decoded samples) and not empty. Blocks are valid inside the `with` only.
    """
    name = name.encode("utf-8", "backslashreplace").decode()  # messages travel as UTF-8
    limits = Limits(start_s, end_s, allow_truncated, max_recording_s, track)
    with ExitStack() as stack:
        stream = Guarded(file)
        with _named(name, stream):
            source = stack.enter_context(_source(stream, isinstance(file, io.FileIO), limits))
            if source.rate not in RATES or not 0 < source.channels <= MAX_CHANNELS:
                raise UnsupportedAudio(f"it has {source.rate} Hz and {source.channels} channels")
        yield Audio(source.rate, source.channels, _checked(source, stream, name, limits))


def count_samples(audio: Audio) -> int:
    """Samples per channel, by decoding all of `audio` with every check."""
    return sum(len(block) for block in audio.blocks)


@contextmanager
def _named(name: str, stream: Guarded | None = None) -> Iterator[None]:
    """Complete a reason to a message; what a stream could not read is the cause of all that follows from it."""
    try:
        yield
        if stream is None or stream.error is None:
            return
    except RecordingError as error:
        if stream is None or stream.error is None:
            raise type(error)(f"{name}: {error}. {_ADVICE[type(error)]}.") from error
    cause = _QUERY.sub(r"\1\2...", f"{type(stream.error).__name__}: {stream.error}"[:500])
    raise UnreadableAudio(f"{name}: it cannot be read ({cause}). {_ADVICE[UnreadableAudio]}.") from stream.error


@contextmanager
def _source(stream: Guarded, mapped: bool, limits: Limits) -> Iterator[Source]:
    """Recognise the format by its content, and check what needs no decoding."""
    if not 0 <= limits.start_s < (LONGEST_S if limits.end_s is None else limits.end_s) <= LONGEST_S:
        raise SegmentOutside(
            f"start_s={limits.start_s}, end_s={limits.end_s}; expected 0 <= start_s < end_s <= {LONGEST_S:g}"
        )
    buffered = io.BufferedReader(stream, 1 << 18)  # decoders ask for a few kilobytes at a time
    if stream.size == 0 and stream.error is None:
        raise EmptyAudio("it has 0 bytes")
    wav = read_header(buffered, stream.size)
    if wav is not None and wav.promised is not None and wav.present < wav.promised and not limits.allow_truncated:
        raise TruncatedAudio(f"its header promises {wav.promised} bytes of samples, it has {wav.present}")
    if wav is not None and wav.kind:
        if limits.track not in (None, 1):
            raise NoSuchTrack(f"it has no audio track {limits.track}, only 1 (WAV)")
        yield _wav_source(buffered, wav, mapped)
        return
    with ExitStack() as stack:
        buffered.seek(0)
        try:
            source = stack.enter_context(open_compressed(buffered, BLOCK_VALUES, limits.track))
            here = buffered.tell()  # FFmpeg goes on from here
            missing = None if wav else missing_end(buffered, stream.size, source.container)
            buffered.seek(here)
        except (NotAudio, EmptyAudio, UnsupportedAudio) as error:
            missing = missing_end(buffered, stream.size, "")
            if missing is None:
                raise
            raise TruncatedAudio(f"{missing}, and nothing can be decoded") from error
        if missing is not None and not limits.allow_truncated:
            raise TruncatedAudio(missing)
        yield source


def _wav_source(stream: BinaryIO, wav: Wav, mapped: bool) -> Source:
    block_samples = max(1, BLOCK_VALUES // wav.channels)

    def blocks(start: int) -> tuple[int, Iterator[np.ndarray]]:
        start = min(start, wav.samples)
        return start, wav_blocks(stream, wav, start, block_samples, mapped)

    return Source("wav", wav.rate, wav.channels, blocks)


def _checked(source: Source, stream: Guarded, name: str, limits: Limits) -> Iterator[np.ndarray]:
    """The blocks of the segment, each checked; then the checks that only the end allows."""
    with _named(name, stream):
        start = round(limits.start_s * source.rate)
        stop = math.inf if limits.end_s is None else round(limits.end_s * source.rate)
        if stop <= start:
            raise SegmentOutside(f"start_s={limits.start_s}, end_s={limits.end_s} hold no sample at {source.rate} Hz")
        position, blocks = source.blocks(start)
        for block in _until_broken(blocks, limits.allow_truncated):
            begin, position = position, position + len(block)
            if stream.error is not None:
                return
            if min(position, stop) > limits.max_recording_s * source.rate:
                raise TooLong(f"it is longer than {limits.max_recording_s:g} s, the limit of one recording")
            wanted = block[max(0, start - begin) : max(0, min(len(block), stop - begin))]
            _check_finite(wanted, max(start, begin) / source.rate)
            if len(wanted):
                yield wanted
            if position >= stop:
                return
        if stream.error is None:
            _check_end(position, source, limits)


def _until_broken(blocks: Iterator[np.ndarray], allow_truncated: bool) -> Iterator[np.ndarray]:
    try:
        yield from blocks
    except TruncatedAudio:
        if not allow_truncated:
            raise


def _check_finite(block: np.ndarray, begin_s: float) -> None:
    if not np.isfinite(block).all():
        bad = np.argwhere(~np.isfinite(block))
        value, channel = block[tuple(bad[0])], bad[0][1]
        raise NonFiniteAudio(
            f"{len(bad)} samples of the block from {begin_s:.3f} s are not finite, first {value} in channel {channel}"
        )


def _check_end(position: int, source: Source, limits: Limits) -> None:
    """What `position` samples in all, decoded to the end, are worth."""
    duration_s = position / source.rate
    if position == 0:
        raise EmptyAudio("it has no samples")
    if limits.start_s >= duration_s or (limits.end_s or 0) > duration_s + END_TOLERANCE_S:
        raise SegmentOutside(f"start_s={limits.start_s}, end_s={limits.end_s}, but it lasts {duration_s:.3f} s")
