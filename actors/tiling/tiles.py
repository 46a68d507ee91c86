"""Layer shapes and lengths in frames -> the frames that each tile reads, the rows that it writes. Pure arithmetic.

A causal convolution depends on nothing to the right, and to the left no further than its kernel. So a long sequence can
be cut into tiles that also read a `halo` of frames before them: a tile's zero padding affects only outputs inside the
halo, which are dropped. The first tile of a recording has no halo, because its padding is the network's own; it keeps
all its outputs, so that every tile has the same length, halo + tile.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

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


def rows_read(tile: Tile, first_row: int, window: int, blank_row: int) -> list[int]:
    """Rows [window] that a tile reads from recordings laid end to end; the blank row past its end."""
    real = range(first_row + tile.start, first_row + tile.stop)
    return [*real, *[blank_row] * (window - len(real))]


def rows_kept(tile: Tile) -> range:
    """Rows of a tile's output that are written: those after its halo, up to its end."""
    return range(tile.keep - tile.start, tile.stop - tile.start)


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
