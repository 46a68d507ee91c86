"""Views of a file (a stretch of it, a channel of it) -> the samples of each, in one pass, in order of time.

The parts of a file that no view holds are passed over where its format can be read from the middle, else decoded.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.audio.source import Source
from pipeline.errors import (
    EmptyAudio,
    NonFiniteAudio,
    NoSuchChannel,
    RecordingError,
    SegmentOutside,
    TooLong,
    TruncatedAudio,
    UnreadableAudio,
)

LONGEST_S = 1e9
"""No start or end lies later (30 years)."""
END_TOLERANCE_S = 0.1
"""How far `end_s` may lie after the end: manifests round, and lossy formats pad."""
GAP_S = 5.0
"""A longer stretch that no view holds is passed over: to find a place in a FLAC costs as much as decoding this."""


@dataclass(frozen=True)
class View:
    """What of a file is one recording."""

    start_s: float = 0.0
    end_s: float | None = None  # None: to the end
    channel: int | None = None  # from 1; None: the mean over all


class Piece(NamedTuple):
    """What a pass over a file gives next."""

    view: int  # its number among those asked for
    block: np.ndarray | None  # float32 [n, channels], of a view of one channel [n, 1], n > 0, finite; None: it is over
    error: RecordingError | None = None  # why it is over before its end; without the recording's name


@dataclass(frozen=True)
class Rules:
    """What is accepted."""

    allow_truncated: bool
    max_recording_s: float


@dataclass(frozen=True)
class Stretch:
    """A view, in samples of its file."""

    number: int
    view: View
    start: int
    stop: float  # math.inf: to the end

    def of(self, samples: int) -> int:
        """How many samples it has, of a file that has `samples`."""
        return max(0, int(min(self.stop, samples)) - self.start)


def stretch(number: int, view: View, rate: int) -> Stretch:
    """Raises SegmentOutside for bounds that hold nothing at `rate` Hz, wherever the file ends."""
    if not 0 <= view.start_s < (LONGEST_S if view.end_s is None else view.end_s) <= LONGEST_S:
        raise SegmentOutside(f"{_bounds(view)}; expected 0 <= start_s < end_s <= {LONGEST_S:g}")
    found = Stretch(
        number, view, round(view.start_s * rate), math.inf if view.end_s is None else round(view.end_s * rate)
    )
    if found.stop <= found.start:
        raise SegmentOutside(f"{_bounds(view)} hold no sample at {rate} Hz")
    return found


def read_views(
    source: Source, views: Sequence[View], rules: Rules, sound: Callable[[], bool], beat: Callable[[], None]
) -> Iterator[Piece]:
    """The pieces of all views: of each its blocks in order, then one that says that it is over.

    What breaks in the middle ends the views that need what is broken; those before it are whole, those behind it are
    read where the format can be read from the middle. `sound`: False once the bytes cannot be read. `beat` is called
    for each block that is decoded.
    """
    wanted: list[Stretch] = []
    for number, view in enumerate(views):
        try:
            wanted.append(_accepted(stretch(number, view, source.rate), source, rules))
        except RecordingError as error:
            yield Piece(number, None, error)
    runs = deque(_runs(sorted(wanted, key=lambda one: one.start), source))
    through = _Pass(source, rules, sound, beat)
    while runs:
        behind = yield from through.read(runs.popleft())
        if behind:
            runs.appendleft(behind)


def _accepted(one: Stretch, source: Source, rules: Rules) -> Stretch:
    """`one`, where nothing that is known before decoding speaks against it."""
    channel = one.view.channel
    if channel is not None and not 1 <= channel <= source.channels:
        have = "1 channel" if source.channels == 1 else f"{source.channels} channels, 1 to {source.channels}"
        raise NoSuchChannel(f"channel {channel} is asked for, but it has {have}")
    if source.missing is not None and one.stop == math.inf:
        raise TruncatedAudio(source.missing)
    if source.samples is not None:
        _check_length(min(source.samples, one.stop), source.rate, rules)
        if one.stop > source.samples:
            _check_end(one.view, source.samples, source)
    return one


def _runs(stretches: list[Stretch], source: Source) -> Iterator[list[Stretch]]:
    """`stretches`, in order of their starts, by what one decoding serves."""
    run: list[Stretch] = []
    stop = 0.0
    for one in stretches:
        if run and source.from_anywhere and one.start > stop + GAP_S * source.rate:
            yield run
            run, stop = [], 0.0
        run.append(one)
        stop = max(stop, one.stop)
    if run:
        yield run


class _Pass:
    """A way through a file; remembers where it broke."""

    def __init__(self, source: Source, rules: Rules, sound: Callable[[], bool], beat: Callable[[], None]) -> None:
        self.source, self.rules, self.sound, self.beat = source, rules, sound, beat
        self.broken: tuple[int, RecordingError] = (-1, TruncatedAudio("it breaks off"))

    def read(self, run: list[Stretch]) -> Generator[Piece, None, list[Stretch]]:
        """The pieces of a run. Returns those of its stretches that begin behind a break, to be tried from there."""
        position = run[0].start
        held, later = [one for one in run if one.start == position], deque(one for one in run if one.start > position)
        try:
            for begin, block in self._blocks(position):
                position = begin + len(block)
                while later and later[0].start < position:
                    held.append(later.popleft())
                pieces = [piece for one in held for piece in self._pieces(one, begin, block)]
                over = {piece.view for piece in pieces if piece.block is None}
                held = [one for one in held if one.number not in over]
                yield from pieces
                if not held and not later:
                    return []
        except RecordingError as error:
            known = error is self.broken[1]
            position, _ = self.broken = self.broken if known else (position, error)
            behind = list(later) if self.source.from_anywhere and self.sound() else []
            ended = held if behind else [*held, *later]
            if self.rules.allow_truncated and isinstance(error, TruncatedAudio):
                yield from self._ends(ended, position)
            else:
                yield from (Piece(one.number, None, error) for one in ended)
            return behind
        yield from self._ends([*held, *later], position)
        return []

    def _blocks(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """(its first sample, block) of all from `start` on, or from before it."""
        position, blocks = self.source.blocks(start)
        broken, why = self.broken
        if position <= broken:  # there is no place behind the break
            raise why
        for block in blocks:
            self.beat()
            if not self.sound():
                break
            yield position, block
            position += len(block)
        if not self.sound():
            raise UnreadableAudio("its bytes cannot be read")

    def _pieces(self, one: Stretch, begin: int, block: np.ndarray) -> Iterator[Piece]:
        """What a view has of a block: part of it, and its end."""
        position, rate = begin + len(block), self.source.rate
        wanted = block[max(0, one.start - begin) : max(0, int(min(len(block), one.stop - begin)))]
        if one.view.channel is not None:
            wanted = np.ascontiguousarray(wanted[:, one.view.channel - 1 : one.view.channel])
        try:
            _check_length(min(position, one.stop), rate, self.rules)
            _check_finite(wanted, max(one.start, begin) / rate, one.view.channel or 1)
        except RecordingError as error:
            yield Piece(one.number, None, error)
            return
        if len(wanted):
            yield Piece(one.number, wanted)
        if position >= one.stop:
            yield Piece(one.number, None)

    def _ends(self, stretches: list[Stretch], samples: int) -> Iterator[Piece]:
        """Of views that the end of a file of `samples` ended: whether that is where they end."""
        for one in stretches:
            try:
                _check_end(one.view, samples, self.source)
            except RecordingError as error:
                yield Piece(one.number, None, error)
            else:
                yield Piece(one.number, None)


def _check_length(samples: float, rate: int, rules: Rules) -> None:
    if samples > rules.max_recording_s * rate:
        raise TooLong(f"it is longer than {rules.max_recording_s:g} s, the limit of one recording")


def _check_finite(block: np.ndarray, begin_s: float, first_channel: int) -> None:
    if not np.isfinite(block).all():
        bad = np.argwhere(~np.isfinite(block))
        value, channel = block[tuple(bad[0])], first_channel + bad[0][1]
        raise NonFiniteAudio(
            f"{len(bad)} samples of the block from {begin_s:.3f} s are not finite, first {value} in channel {channel}"
        )


def _check_end(view: View, samples: int, source: Source) -> None:
    """What a view is worth that a recording of `samples` in all ends."""
    duration_s = samples / source.rate
    if source.missing is not None:
        raise TruncatedAudio(source.missing)
    if samples == 0:
        raise EmptyAudio("it has no samples")
    if round(view.start_s * source.rate) >= samples or (view.end_s or 0) > duration_s + END_TOLERANCE_S:
        raise SegmentOutside(f"{_bounds(view)}, but it lasts {duration_s:.3f} s")


def _bounds(view: View) -> str:
    return f"start_s={view.start_s}, end_s={view.end_s}"
