"""Layer shapes and lengths in frames -> which stretch each tile reads, which rows it writes. Pure arithmetic.

A causal convolution sees nothing to the right, and to the left no further than its kernel. So a long sequence can be
cut into tiles that also read a `halo` of what comes before them: their own zero padding spoils only outputs inside the
halo, which are dropped. The first tile of a recording has nothing before it, and its padding is the network's own; it
keeps all its outputs, so that every tile has the same length, halo + tile.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Reach(NamedTuple):
    """What of a causal layer decides how far it looks back; `up`: a transposed convolution."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    up: bool = False


class Tile(NamedTuple):
    """Frames [start, stop) of recording number `recording` are read, frames [keep, stop) are written."""

    recording: int
    start: int
    keep: int
    stop: int


def left_reach(layers: Sequence[Reach]) -> int:
    """How many inputs before its own stretch the first output of a stack of causal layers depends on.

    Layers in the order of the dataflow. Walks backwards: `reach` outputs of a layer before the first one are wanted.
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


def rows_read(tile: Tile, first_row: int, window: int, blank_row: int) -> list[int]:
    """Rows [window] that a tile reads of recordings laid end to end; past its end the blank row."""
    real = range(first_row + tile.start, first_row + tile.stop)
    return [*real, *[blank_row] * (window - len(real))]


def rows_kept(tile: Tile) -> range:
    """Rows of a tile's own output that are written: those behind its halo, up to its end."""
    return range(tile.keep - tile.start, tile.stop - tile.start)


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def buckets(lengths: Sequence[int], budget: int, waste: float = 0.125) -> list[list[int]]:
    """Groups of indices of similar length: padding to a group's longest stays under `waste`, its area under `budget`.

    A single one that is longer than `budget` is a group of its own. Empty ones are left out.
    """
    groups: list[list[int]] = []
    for index in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: (-lengths[i], i)):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and lengths[index] >= longest * (1 - waste) and longest * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
