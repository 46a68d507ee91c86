"""Blocks of mono 24 kHz audio -> chunks of one length, each with the stretch before it as left context."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from actors.contract import FRAME_SAMPLES


@dataclass(frozen=True)
class Chunk:
    """A stretch of one recording. `audio` is float32 [context_samples + num_samples] at 24 kHz, context first."""

    index: int  # from 0
    first_frame: int  # of the recording, where this chunk's own samples (not its context) begin
    num_samples: int
    context_samples: int  # a multiple of FRAME_SAMPLES; 0 in the first chunk
    audio: np.ndarray


def chunk_count(total_samples: int, chunk_samples: int) -> int:
    """How many chunks `cut` makes of a recording: never an empty one, so none of no samples."""
    return -(-total_samples // chunk_samples)


def context_of(index: int, chunk_samples: int, context_samples: int) -> int:
    """Samples of context that chunk `index` has: `context_samples`, or all that come before it."""
    return min(context_samples, index * chunk_samples)


def cut(blocks: Iterator[np.ndarray], chunk_samples: int, context_samples: int, first: int = 0) -> Iterator[Chunk]:
    """float32 [m] blocks of one recording, cut anyhow -> its chunks; only the last may be shorter than `chunk_samples`.

    Both lengths are multiples of FRAME_SAMPLES, in samples at 24 kHz. A chunk carries the `context_samples` before it,
    or all there is. A full chunk leaves as soon as its last sample is there. Memory: one chunk, its context, one block.
    The blocks begin where the context of chunk `first` begins: for chunk 0, with the recording.
    """
    cutter = Cutter(chunk_samples, context_samples, first)
    for block in blocks:
        yield from cutter.feed(block)
    yield from cutter.flush()


class Cutter:
    """The chunk of one recording that is being filled, as `cut` describes it."""

    def __init__(self, chunk_samples: int, context_samples: int, first: int = 0) -> None:
        assert chunk_samples > 0, "a chunk holds at least one frame"
        assert chunk_samples % FRAME_SAMPLES == 0, "chunks begin on a frame"
        assert context_samples >= 0, "context reaches back"
        assert context_samples % FRAME_SAMPLES == 0, "contexts begin on a frame"
        self.lengths, self.index, self.filled = (chunk_samples, context_samples), first, 0
        self.context = context_of(first, *self.lengths)
        self.parts: list[np.ndarray] = []  # context and chunk so far: joined once, and not at all where it is one

    def feed(self, block: np.ndarray) -> Iterator[Chunk]:
        """float32 [m] -> the chunks that are full now. Iterate to the end."""
        while len(block):
            room = self.context + self.lengths[0] - self.filled
            part, block = block[:room], block[room:]
            self.parts.append(part.copy() if len(block) else part)  # chunks share no memory
            self.filled += len(part)
            if len(part) == room:
                yield self._chunk()
                self._next()

    def flush(self) -> Iterator[Chunk]:
        """The last chunk, once all was fed; none where nothing is left."""
        if self.filled > self.context:
            yield self._chunk()

    def _chunk(self) -> Chunk:
        begin = self.index * self.lengths[0] // FRAME_SAMPLES
        if len(self.parts) > 1:
            self.parts = [np.concatenate(self.parts)]
        return Chunk(self.index, begin, self.filled - self.context, self.context, self.parts[0])

    def _next(self) -> None:
        """Begin a chunk behind the one that is full: it has that one's end as its context."""
        self.index += 1
        self.context = self.filled = context_of(self.index, *self.lengths)
        (seen,) = self.parts
        self.parts = [seen[len(seen) - self.context :].copy()] if self.context else []
