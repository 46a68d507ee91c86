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
    assert chunk_samples > 0, "a chunk holds at least one frame"
    assert chunk_samples % FRAME_SAMPLES == 0, "chunks begin on a frame"
    assert context_samples >= 0, "context reaches back"
    assert context_samples % FRAME_SAMPLES == 0, "contexts begin on a frame"
    index, context = first, context_of(first, chunk_samples, context_samples)
    audio, filled = np.empty(context + chunk_samples, np.float32), 0  # pages of it become memory as they are filled
    for block in blocks:
        while len(block):
            part, block = block[: len(audio) - filled], block[len(audio) - filled :]
            audio[filled : filled + len(part)] = part
            filled += len(part)
            if filled == len(audio):
                yield Chunk(index, index * chunk_samples // FRAME_SAMPLES, chunk_samples, context, audio)
                index += 1
                context = context_of(index, chunk_samples, context_samples)
                seen, audio = audio, np.empty(context + chunk_samples, np.float32)
                audio[:context] = seen[len(seen) - context :]
                filled = context
                del seen
    if filled > context:
        yield Chunk(index, index * chunk_samples // FRAME_SAMPLES, filled - context, context, audio[:filled])
