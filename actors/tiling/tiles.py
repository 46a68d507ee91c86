"""Layer shapes and lengths in frames -> the frames that each tile reads, the rows that it writes. Pure arithmetic.

A causal convolution depends on nothing to the right, and to the left no further than its kernel. So a long sequence can
be cut into tiles that also read a `halo` of frames before them: a tile's zero padding affects only outputs inside the
halo, which are dropped. The first tile of a recording has no halo, because its padding is the network's own; it keeps
all its outputs, so that every tile has the same length, halo + tile.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")


class Reach(NamedTuple):
    """The parameters of a causal layer that decide how far it looks back; `up`: a transposed convolution."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    up: bool = False


class Tile(NamedTuple):
    """Reads frames [start, stop) of recording number `recording`, writes frames [keep, stop)."""

    recording: int
    start: int
    keep: int
    stop: int


def left_reach(layers: Sequence[Reach]) -> int:
    """How many inputs before a tile the tile's first output depends on, in a stack of causal layers.

    Layers in the order of the dataflow. Walks backwards: `reach` outputs of each layer before the tile are needed.
    """
    reach = 0
    for layer in reversed(layers):
        if layer.up:  # output o sees inputs i with i * stride <= o < i * stride + kernel; the rest is cut on the right
            reach = (reach + layer.kernel - 1) // layer.stride
        else:  # padded on the left by its kernel's extent less its stride
            reach = reach * layer.stride + (layer.kernel - 1) * layer.dilation + 1 - layer.stride
    return reach


def whole(samples: int, unit: int) -> int:
    """How many units hold `samples`."""
    return -(-samples // unit)


def cut(frames: Sequence[int], tile: int, halo: int) -> list[Tile]:
    """Tiles of at most halo + tile frames whose written frames cover every recording once, in order."""
    tiles: list[Tile] = []
    for recording, length in enumerate(frames):
        keep = 0
        while keep < length:
            start = max(0, keep - halo)
            stop = min(length, start + halo + tile)
            tiles.append(Tile(recording, start, keep, stop))
            keep = stop
    return tiles


def offsets(frames: Sequence[int]) -> list[int]:
    """First row of each recording when all are laid end to end, and the total."""
    rows = [0]
    for length in frames:
        rows.append(rows[-1] + length)
    return rows


def rows_of_tiles(
    tiles: Sequence[Tile], span: tuple[int, int], first: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that a group of tiles reads, int64 [batch * window], and those of its result to keep, in order.

    Recordings are laid end to end, each from row `first` on, and the group sees rows [low, high) of them, the `span`,
    numbered from 0. The row after the span is blank: it pads tiles at a recording's end, and the batch.
    """
    low, high = span
    recording, start, keep, stop = np.array(tiles).T[:, :, None]
    frames = start + np.arange(shape[1])
    real = frames < stop
    rows = np.full(shape, high - low)
    rows[: len(tiles)][real] = (frames + first[recording] - low)[real]
    return rows.reshape(-1), np.flatnonzero(real & (frames >= keep))


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
