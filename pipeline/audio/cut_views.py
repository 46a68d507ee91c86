"""Views of an open file -> the chunks of each at 24 kHz, resampled and cut by itself, in one pass over the file.

How many chunks a recording has is a column of each of them, and what breaks should fail before any of it is encoded. So
chunks wait for their last one, up to HOLD_BYTES of them; of what takes more they are only counted, and a second pass
gives them. A plain WAV says its length: nothing waits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from actors.contract import output_length
from pipeline.audio.chunk import Chunk, Cutter, chunk_count
from pipeline.audio.decode import OpenFile
from pipeline.audio.resample import Resampler
from pipeline.audio.views import View
from pipeline.errors import RecordingError

HOLD_BYTES = 256 << 20
"""Of the chunks that wait, all views of a file together: 45 minutes of float32 at 24 kHz."""


@dataclass(frozen=True)
class Wanted:
    """A view, and what is known of its chunks."""

    view: View
    skip: frozenset[int]  # chunks that are not wanted
    chunks: int | None = None  # how many it has; None: to be counted


class Result(NamedTuple):
    """What comes next."""

    view: int  # its number among those wanted
    chunk: Chunk | None = None  # None: the view is over
    chunks: int | None = None  # how many it has; another pass that knows it gives those that did not come
    error: RecordingError | None = None  # why it is over before its end


def cut_views(opened: OpenFile, wanted: Sequence[Wanted], chunk_samples: int, context_samples: int) -> Iterator[Result]:
    """The chunks of all views, each view's in order, as `chunk.cut` makes them. Memory: HOLD_BYTES, or a chunk."""
    going: dict[int, _Cutting] = {}
    for number, block, error in opened.read([one.view for one in wanted]):
        if error is not None:
            going.pop(number, None)
            yield Result(number, error=error)
            continue
        if number not in going:
            going[number] = _Cutting(opened, wanted[number], chunk_samples, context_samples)
            if sum(one.waiting_bytes for one in going.values()) > HOLD_BYTES:
                going[number].only_count()  # else its chunks would be made in vain
        one = going[number]
        for chunk in one.end() if block is None else one.feed(block):
            yield Result(number, chunk, one.chunks)
        if block is None:
            yield Result(number, None, going.pop(number).chunks)
        else:
            _bound(going)


class _Cutting:
    """A view that is being read: its resampler, its cutter, the chunks that wait."""

    def __init__(self, opened: OpenFile, wanted: Wanted, chunk_samples: int, context_samples: int) -> None:
        self.rate, self.skip, self.chunk_samples = opened.rate, wanted.skip, chunk_samples
        length = opened.length(wanted.view)
        self.chunks = wanted.chunks if wanted.chunks or length is None else self._count(length)
        self.stream: tuple[Resampler, Cutter] | None = Resampler(self.rate), Cutter(chunk_samples, context_samples)
        self.samples, self.waiting = 0, list[Chunk]()
        self.likely = opened.likely_length(wanted.view)

    def feed(self, block: np.ndarray) -> Iterator[Chunk]:
        """The chunks that may leave now. Iterate to the end."""
        self.samples += len(block)
        if self.stream is not None:
            resampler, cutter = self.stream
            yield from self._leaving(cutter.feed(resampler.feed(block)))

    def end(self) -> Iterator[Chunk]:
        """The chunks that are left; the view is whole, and `chunks` known."""
        if self.stream is not None:
            resampler, cutter = self.stream
            yield from self._leaving(cutter.feed(resampler.flush()))
            yield from self._leaving(cutter.flush())
        self.chunks = self._count(self.samples)
        yield from self.waiting

    def _leaving(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            if chunk.index in self.skip:
                continue
            if self.chunks is None:
                self.waiting.append(chunk)
            else:
                yield chunk

    def _count(self, samples: int) -> int:
        return chunk_count(output_length(samples, self.rate), self.chunk_samples)

    @property
    def held_bytes(self) -> int:
        """Of samples that are here; 0 of a view that is only counted."""
        filling = self.stream[0].waiting + self.stream[1].filled if self.stream is not None else 0
        return 4 * (filling + sum(len(chunk.audio) for chunk in self.waiting))

    @property
    def waiting_bytes(self) -> int:
        """What `held_bytes` is likely to become."""
        waits = self.stream is not None and self.chunks is None
        return 4 * output_length(self.likely, self.rate) if waits else 0

    def only_count(self) -> None:
        """Forget the samples."""
        self.stream, self.waiting = None, []


def _bound(going: dict[int, _Cutting]) -> None:
    """Take the samples of what holds most until all hold at most HOLD_BYTES; one view whose chunks leave goes on."""
    while sum(one.held_bytes for one in going.values()) > HOLD_BYTES:
        cutting = [one for one in going.values() if one.stream is not None]
        if len(cutting) == 1 and cutting[0].chunks is not None:
            return
        max(cutting, key=lambda one: one.held_bytes).only_count()
