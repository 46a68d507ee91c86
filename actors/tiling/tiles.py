"""Layer shapes and lengths in frames -> the frames that each tile reads, the rows that it writes. Pure arithmetic.

A causal convolution depends on nothing to the right, and to the left no further than its kernel. So a long sequence can
be cut into tiles that also read a `halo` of frames before them: a tile's zero padding affects only outputs inside the
halo, which are dropped. The first tile of a recording has no halo, because its padding is the network's own; it keeps
all its outputs. So all tiles of a recording have one length, its window: halo + tile frames, or fewer where it fits.
"""

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Item = TypeVar("Item")

MAX_WINDOWS = 4
"""Lengths of windows: each is a shape of its own, with a graph in device memory and a last batch that is not full."""
SHORTEST = 7
"""Frames of the shortest window: half a second."""
SHORT_BATCH = 1 / 4
"""Frames of a batch of shorter windows, as a share of those in a batch of the longest. The last batch of each window is
padded: of 350 s of clips of 0.2 to 35 s (median 3 s) 1.72 times the frames are decoded by a quarter, 1.83 times by a
half, and 1.80 times by the longest window alone."""


class Reach(NamedTuple):
    """The parameters of a causal layer that decide how far it looks back; `up`: a transposed convolution."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    up: bool = False


class Tile(NamedTuple):
    """Reads frames [start, stop) of recording number `recording`, writes frames [keep, stop). The row in which it
    runs has `window` frames."""

    recording: int
    start: int
    keep: int
    stop: int
    window: int


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


def windows(frames: Sequence[int], longest: int) -> list[int]:
    """The window of each recording, by its own length alone: the shortest that holds all of it, else the `longest`.

    Each is half as long as the one before, rounded up.
    """
    lengths = [longest]
    while len(lengths) < MAX_WINDOWS and (half := whole(lengths[0], 2)) >= SHORTEST:
        lengths.insert(0, half)
    return [lengths[bisect_left(lengths, min(length, longest))] for length in frames]


def cut(frames: Sequence[int], longest: int, halo: int) -> list[Tile]:
    """Tiles whose written frames cover every recording once, in order. The `longest` window exceeds the halo."""
    assert longest > halo
    tiles: list[Tile] = []
    for recording, (length, window) in enumerate(zip(frames, windows(frames, longest), strict=True)):
        keep = 0
        while keep < length:
            start = max(0, keep - halo)
            stop = min(length, start + window)
            tiles.append(Tile(recording, start, keep, stop, window))
            keep = stop
    return tiles


def groups(tiles: Sequence[Tile], longest: int, batch: int) -> Iterator[tuple[Sequence[Tile], tuple[int, int]]]:
    """Tiles that run at once, and the [batch, window] in which they do; `batch` tiles of the longest window.

    Only neighbours of one window run at once.
    """
    for window, alike in itertools.groupby(tiles, lambda tile: tile.window):
        size = batch if window == longest else max(1, int(SHORT_BATCH * batch * longest / window))
        for group in batches(list(alike), size):
            yield group, (size, window)


def together(frames: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """(how many, frames of each): neighbours of one length that run at once without tiles, `most` frames in all, and
    longer recordings alone. None of no frames."""
    for length, alike in itertools.groupby(frames):
        for group in batches(list(alike), max(1, most // length)) if length else ():
            yield len(group), length


def offsets(frames: Sequence[int]) -> list[int]:
    """First row of each recording when all are laid end to end, and the total."""
    rows = [0]
    for length in frames:
        rows.append(rows[-1] + length)
    return rows


def in_order(items: Sequence[Item], numbers: Sequence[int]) -> list[Item]:
    """Each of `items` in the place that its number says."""
    return [item for _, item in sorted(zip(numbers, items, strict=True), key=lambda pair: pair[0])]


def rows_of_tiles(
    tiles: Sequence[Tile], span: tuple[int, int], first: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that a group of tiles reads, int64 [batch * window], and those of its result to keep, in order.

    Recordings are laid end to end, each from row `first` on, and the group sees rows [low, high) of them, the `span`,
    numbered from 0. The row after the span is blank: it pads tiles at a recording's end, and the batch.
    """
    low, high = span
    recording, start, keep, stop, _ = np.array(tiles).T[:, :, None]
    frames = start + np.arange(shape[1])
    real = frames < stop
    rows = np.full(shape, high - low)
    rows[: len(tiles)][real] = (frames + first[recording] - low)[real]
    return rows.reshape(-1), np.flatnonzero(real & (frames >= keep))


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
