"""One recording, a seekable stream in any audio format -> blocks of float32 [n, channels], in flat memory.

Plain WAV on a local path is memory-mapped; FFmpeg decodes everything else. Content decides, never the suffix.
"""

import io
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np

from actors.contract import RATES
from pipeline.audio.ffmpeg import open_compressed
from pipeline.audio.guarded import Guarded
from pipeline.audio.kept import kept
from pipeline.audio.source import Source
from pipeline.audio.truncation import missing_end
from pipeline.audio.views import Piece, Rules, View, read_views, stretch
from pipeline.audio.wav import Wav, read_header, wav_blocks
from pipeline.errors import (
    EmptyAudio,
    NonFiniteAudio,
    NoSuchChannel,
    NoSuchTrack,
    NotAudio,
    RecordingError,
    SegmentOutside,
    TooLong,
    TruncatedAudio,
    UnreadableAudio,
    UnsupportedAudio,
    plural,
)

BLOCK_VALUES = 1 << 20
"""Samples times channels of one block, about: four megabytes, in which most recordings are whole and never joined."""
MAX_CHANNELS = 1_024
"""libsndfile's limit; more is a header that lies."""

_ADVICE = {
    NotAudio: "Expected wav, flac, ogg, mp3, m4a or another format of README's Inputs: convert it or take it out",
    TruncatedAudio: "Fetch or export it again, or set input.allow_truncated to keep what can be decoded",
    EmptyAudio: "Expected at least one: take it out of the inputs",
    UnsupportedAudio: "Convert it to a common codec at 4-192 kHz, one rate and layout throughout",
    NonFiniteAudio: "Export it again from finite samples",
    SegmentOutside: "Mend start_s and end_s where they are given",
    NoSuchTrack: "Set input.track to one that it has, or leave it out for the default one",
    NoSuchChannel: "Mend the channel where it is given: in the manifest or by input.channels",
    TooLong: "Cut it, or raise input.max_recording_s",
    UnreadableAudio: "Check the path, its permissions and the network",
}
_QUERY = re.compile(r"(://)[^/@\s]*@|(\?)[^\s'\"]*")  # user names and signatures in an address


@dataclass(frozen=True)
class OpenFile:
    """A recording that is open, of which several views can be read in one pass."""

    rate: int  # Hz
    channels: int
    samples: int | None  # per channel, where that is known for certain before they are decoded
    likely: int | None  # per channel, as the header has it, which may be wrong
    read: Callable[[Sequence[View]], Iterator[Piece]]
    """The `Piece`s of the views, as `views.read_views` gives them; errors say the recording's name. Call it again only
    once all are there."""

    def length(self, view: View) -> int | None:
        """Samples of a view at `rate`, where that is known before they are decoded."""
        return None if self.samples is None else stretch(0, view, self.rate).of(self.samples)

    def likely_length(self, view: View) -> int:
        """As `length`, but by a header that may be wrong; 0 where nothing is known."""
        likely = self.likely or (round((view.end_s or 0) * self.rate))
        return stretch(0, view, self.rate).of(likely)


@dataclass(frozen=True)
class Audio:
    """One view of a recording that is being read."""

    rate: int  # Hz
    channels: int  # of the recording
    blocks: Iterator[np.ndarray]  # float32 [n, channels], of one channel [n, 1], 0 < n <= BLOCK_VALUES, finite


@contextmanager
def open_file(
    file: BinaryIO,
    name: str,
    *,
    allow_truncated: bool = False,
    max_recording_s: float = 86_400.0,
    track: int | None = None,
    keep: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[OpenFile]:
    """Open `file`, a seekable binary stream; WAV in a FileIO is mapped. `beat` is called for each block.

    `track`: which audio track of a container with several, from 1; None: the default one, else the first. `keep`: what
    was read from the beginning to the end is not decoded again, if it takes no more bytes than these.

    Every problem is a RecordingError that begins with `name` and says what was seen, what was expected, what to change:
    raised here, or the `error` of a piece. When a view is over without one, it is known to be whole (unless
    `allow_truncated`: then the decodable part is delivered and no word said), finite, no longer than `max_recording_s`
    (counted from the recording's start, in decoded samples) and not empty. Blocks are valid inside the `with` only.
    """
    name = name.encode("utf-8", "backslashreplace").decode()  # messages travel as UTF-8
    with ExitStack() as stack:
        stream = Guarded(file)
        try:
            source = _source(stack, stream, isinstance(file, io.FileIO), allow_truncated, track)
            if source.rate not in RATES or not 0 < source.channels <= MAX_CHANNELS:
                raise UnsupportedAudio(f"it has {source.rate} Hz and {plural(source.channels, 'channel')}")
            source = kept(source, keep) if keep else source
        except RecordingError as error:
            raise _named(name, error, stream) from error
        if stream.error is not None:
            raise _named(name, UnreadableAudio(""), stream) from stream.error

        def read(views: Sequence[View]) -> Iterator[Piece]:
            rules = Rules(allow_truncated, max_recording_s)
            for piece in read_views(source, views, rules, lambda: stream.error is None, beat):
                yield piece if piece.error is None else piece._replace(error=_named(name, piece.error, stream))

        yield OpenFile(source.rate, source.channels, source.samples, source.likely, read)


@contextmanager
def open_audio(
    file: BinaryIO,
    name: str,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    channel: int | None = None,
    **rules: Any,
) -> Iterator[Audio]:
    """One view of `file`, from `start_s` to `end_s` (the end if None), all channels or only `channel` (from 1).

    `rules` and errors as of `open_file`; those of the view are raised by its blocks.
    """
    with open_file(file, name, **rules) as opened:
        yield Audio(opened.rate, opened.channels, _alone(opened.read([View(start_s, end_s, channel)])))


def _alone(pieces: Iterator[Piece]) -> Iterator[np.ndarray]:
    for piece in pieces:
        if piece.error is not None:
            raise piece.error
        if piece.block is not None:
            yield piece.block


def _named(name: str, error: RecordingError, stream: Guarded) -> RecordingError:
    """A reason as a message; what a stream could not read is the cause of all that follows from it."""
    if stream.error is None:
        named = type(error)(f"{name}: {error}. {_ADVICE[type(error)]}.")
        named.__cause__ = error
        return named
    cause = _QUERY.sub(r"\1\2...", f"{type(stream.error).__name__}: {stream.error}"[:500])
    unreadable = UnreadableAudio(f"{name}: it cannot be read ({cause}). {_ADVICE[UnreadableAudio]}.")
    unreadable.__cause__ = stream.error
    return unreadable


def _source(stack: ExitStack, guarded: Guarded, mapped: bool, allow_truncated: bool, track: int | None) -> Source:
    """Recognise the format by its content, and check what needs no decoding. `stack` closes what is opened."""
    stream, size = cast(BinaryIO, guarded), guarded.size
    if size == 0 and guarded.error is None:
        raise EmptyAudio("it has 0 bytes")
    wav = read_header(stream, size)
    lacks = wav is not None and wav.promised is not None and wav.present < wav.promised and not allow_truncated
    why = f"its header promises {wav.promised} bytes of samples, it has {wav.present}" if wav and lacks else None
    if wav is not None and wav.kind:
        if track not in (None, 1):
            raise NoSuchTrack(f"it has no audio track {track}, only 1 (WAV)")
        return _wav_source(stream, wav, mapped, why)
    stream.seek(0)
    try:
        source = stack.enter_context(open_compressed(stream, BLOCK_VALUES, track))
        here = stream.tell()  # FFmpeg goes on from here
        missing = None if wav else missing_end(stream, size, source.container)
        stream.seek(here)
    except (NotAudio, EmptyAudio, UnsupportedAudio) as error:
        missing = missing_end(stream, size, "")
        if missing is None:
            raise
        raise TruncatedAudio(f"{missing.why}, and nothing can be decoded") from error
    if missing is not None and not allow_truncated:
        if not missing.at_end:
            raise TruncatedAudio(missing.why)
        why = missing.why
    sources = stack.enter_context(closing(_opened_anew(source, stream, track)))
    return replace(source, blocks=lambda start: next(sources).blocks(start), missing=why)


def _opened_anew(source: Source, stream: BinaryIO, track: int | None) -> Generator[Source, None, None]:
    """`source`, then the same anew for each other place: after a seek FFmpeg goes on with old bytes of a FLAC."""
    yield source
    while True:
        stream.seek(0)
        with open_compressed(stream, BLOCK_VALUES, track) as again:
            yield again


def _wav_source(stream: BinaryIO, wav: Wav, mapped: bool, missing: str | None) -> Source:
    block_samples = max(1, BLOCK_VALUES // wav.channels)

    def blocks(start: int) -> tuple[int, Iterator[np.ndarray]]:
        start = min(start, wav.samples)
        return start, wav_blocks(stream, wav, start, block_samples, mapped)

    return Source("wav", wav.rate, wav.channels, blocks, from_anywhere=True, samples=wav.samples, missing=missing)
