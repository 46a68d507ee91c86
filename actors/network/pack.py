"""Lengths of the recordings of a call -> where their rows are when all are computed together, in kernels of few shapes.

Recordings are laid end to end and padded to whole blocks. What treats each row alone (products, norms) runs block after
block; attention runs over segments, gathered into groups [batch, steps] of one of few shapes. So a row goes through
kernels of the same shapes, whatever else is in the call: its result does not depend on its company, and CUDA, which
chooses kernels by shape, has chosen them all after a few calls.

The first row of the padding is a recording of its own: padding of segments reads it, and nothing that overflows
elsewhere gets into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from actors.device import uploaded
from actors.tiling.tiles import batches, offsets, whole

BLOCK_FRAMES = {"cuda": 2048, "cpu": 128}
"""Frames of a block (164 s, 10 s): few kernels on a GPU, at little cost for a short call."""
SHORTEST = 128
"""Steps of the shortest group under attention over everything; each longer one has twice as many."""


class Segment(NamedTuple):
    """Steps of one recording: `queries` of them from `row` on, and the `behind` rows before them that they may see."""

    row: int
    queries: int
    behind: int


class Group(NamedTuple):
    """Segments of one shape: each has `past + steps` rows, of which the last `steps` are queries."""

    segments: int
    past: int
    steps: int


@dataclass(frozen=True)
class Attention:
    """Who attends to whom in a pack. `positions` [rows]: steps since the recording's start.

    `seen`: the rows of all segments, group after group. `order` [rows]: where a row's result is among all queries'.
    """

    positions: Tensor
    groups: list[Group]
    seen: Tensor
    order: Tensor
    window: int | None

    def __call__(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """Query, key and value [rows, 3, heads, D] -> attended [rows, heads * D]; `mask` of segments with a past."""
        sizes = [group.segments * (group.past + group.steps) for group in self.groups]
        parts = []
        for group, chosen in zip(self.groups, qkv.index_select(0, self.seen).split(sizes), strict=True):
            query, key, value = chosen.unflatten(0, (group.segments, -1)).permute(2, 0, 3, 1, 4)
            query = query[:, :, group.past :]
            causal = group.past == 0
            out = F.scaled_dot_product_attention(query, key, value, None if causal else mask, is_causal=causal)
            parts.append(out.transpose(1, 2).flatten(2).flatten(0, 1))
        return torch.cat(parts).index_select(0, self.order)

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """[steps, past + steps] to add to the scores of segments with a past, 0 or -inf; None where there are none."""
        past, steps = max((group.past, group.steps) for group in self.groups)
        if past == 0 or self.window is None:
            return None
        device = self.positions.device
        distance = torch.arange(past, past + steps, device=device)[:, None]
        distance = distance - torch.arange(past + steps, device=device)
        seen = (distance >= 0) & (distance < self.window)
        return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)


@dataclass(frozen=True)
class Pack:
    """`first` [frames]: the frame in which a frame's recording starts. A `block` has so many frames."""

    frames: int  # with the padding: a multiple of the block
    block: int
    blank: int  # the first frame of the padding
    first: Tensor
    attention: Attention


def frames_of_pack(lengths: Sequence[int], block: int) -> int:
    """How many frames recordings of these lengths have in a pack, with its padding."""
    return block * whole(sum(lengths) + 1, block)


def pack(lengths: Sequence[int], steps: int, window: int | None, block: int, device: torch.device) -> Pack:
    """`lengths`: frames of each recording; `steps` of the transformer in a frame, and its `window` in steps."""
    blank = sum(lengths)
    frames = frames_of_pack(lengths, block)
    alone = range(blank + 1, frames + 1)
    starts = np.array([*offsets([*lengths, 1])[:-1], *alone])  # every further row of padding starts a recording too
    first = np.repeat(starts[:-1], np.diff(starts))
    groups, seen, order = [], [], np.zeros(frames * steps, np.int64)
    written = 0
    for (past, length), segments in _segments([steps * one for one in (*lengths, 1)], window).items():
        size = max(1, block * steps // length)
        for batch in batches(segments, size):
            rows = np.full((size, past + length), blank * steps)
            for number, (row, queries, behind) in enumerate(batch):
                rows[number, past - behind : past + queries] = np.arange(row - behind, row + queries)
                order[row : row + queries] = written + number * length + np.arange(queries)
            groups.append(Group(size, past, length))
            seen.append(rows.reshape(-1))
            written += size * length
    order[(blank + 1) * steps :] = order[blank * steps]
    starting = np.arange(frames * steps) - np.repeat(first * steps, steps)
    parts = uploaded([first, starting, np.concatenate(seen), order], device)
    return Pack(frames, block, blank, parts[0], Attention(parts[1], groups, parts[2], parts[3], window))


def _segments(lengths: Sequence[int], window: int | None) -> dict[tuple[int, int], list[Segment]]:
    """Lengths in steps -> the segments of each kind of group, (past, steps).

    Over everything: whole recordings, by length. Over a window: as many steps as the window, after the steps before
    them; their number makes the keys a multiple of 8, as kernels with a mask want it.
    """
    found: dict[tuple[int, int], list[Segment]] = {}
    behind = 0 if window is None else 8 * whole(2 * window - 1, 8) - window
    for row, length in zip(offsets(lengths), lengths, strict=False):
        steps = window or max(SHORTEST, 1 << (length - 1).bit_length())
        for start in range(0, length, steps):
            key = (behind if start else 0, steps)
            found.setdefault(key, []).append(Segment(row + start, min(steps, length - start), min(start, behind)))
    return found
