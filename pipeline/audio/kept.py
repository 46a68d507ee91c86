"""A recording that is ready to be decoded -> the same, which keeps what its first pass decodes for later ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.audio.source import Source


def kept(source: Source, most_bytes: int) -> Source:
    """`source`, whose blocks are kept once it was read from its beginning to its end, if that takes `most_bytes`."""
    held: list[np.ndarray] = []
    whole = False

    def blocks(start: int) -> tuple[int, Iterator[np.ndarray]]:
        if whole:
            return _from(held, start)
        position, decoded = source.blocks(start)
        return position, keeping(decoded) if position == 0 else decoded

    def keeping(decoded: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal whole
        held.clear()
        left = most_bytes
        for block in decoded:
            left -= block.nbytes
            if left >= 0:
                held.append(block)
            else:
                held.clear()
            yield block
        whole = left >= 0

    return replace(source, blocks=blocks)


def _from(held: list[np.ndarray], start: int) -> tuple[int, Iterator[np.ndarray]]:
    """The first sample of the block that holds sample `start` (or of the end), and all blocks from there."""
    position = 0
    for number, block in enumerate(held):
        if position + len(block) > start:
            return position, iter(held[number:])
        position += len(block)
    return position, iter([])
