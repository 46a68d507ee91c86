"""An opened recording -> what its views are read from: the common form of WAV and of what FFmpeg decodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Source:
    """A recording that is ready to be decoded."""

    container: str  # FFmpeg's name of it, or "wav"
    rate: int  # Hz
    channels: int
    blocks: Callable[[int], tuple[int, Iterator[np.ndarray]]]
    """`blocks(start)`: the number of a sample at or before sample `start`, and float32 [n, channels] blocks from there
    on. Call it once, or again for a later `start` if the recording can be read `from_anywhere`."""
    from_anywhere: bool = False
    samples: int | None = None  # per channel, where that is known for certain before they are decoded
    likely: int | None = None  # per channel, as the header has it, which may be wrong; None: it says nothing
    missing: str | None = None  # why the end of the recording is not there; None: it is, or is not asked for
