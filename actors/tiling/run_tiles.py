"""Rows of many recordings -> rows, through a stack of causal convolutions, in pieces of bounded size.

A row is one frame: its samples on one side of a stack, its features or latents on the other. Recordings are laid end to
end, and the pieces that are yielded, joined, are the rows of all of them in order.

Two ways, with the same result. Carrying: tile after tile, every layer keeps its last inputs, and short recordings of
one length fill a tile together; nothing is computed twice, which is best where a tile keeps the machine busy (a CPU).
Batching: many tiles with halos at once, in few static shapes, which is best where it takes many tiles to keep it busy
(a GPU).
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from actors.device import times_full, uploaded
from actors.errors import DeviceOutOfMemory
from actors.tiling.cuda_graphs import Graphs, Run, directly
from actors.tiling.stack import Carried, Stack
from actors.tiling.tiles import cut, groups, offsets, rows_of_tiles, together, windows

log = logging.getLogger("voxmill")

FULL = re.compile(r"(CUDA|HIP) error: out of memory|\[CUDA\]: out of memory|_STATUS_ALLOC_FAILED")
"""Texts of errors that are no torch.OutOfMemoryError, where the driver or a library found no memory."""
NO_ENGINE = "unable to find an engine"
"""What cuDNN says once it has tried all its engines: they lack memory, or it is a cuDNN that is not of this PyTorch."""

Result = TypeVar("Result")
Span = tuple[int, int]
"""Rows [first, last) of all recordings laid end to end."""
Load = Callable[[Sequence[Span]], Iterable[Tensor]]
"""Spans -> their rows, each [rows, width], on the device, in the stack's dtype."""


class Way(NamedTuple):
    """How to run: `tile` frames of each of `batch` tiles at once, shorter recordings in shorter windows; None: one tile
    at a time, carrying."""

    device: torch.device
    dtype: torch.dtype
    tile: int
    batch: int | None
    tf32: bool = False  # whether CUDA may round fp32 inputs to it


@dataclass
class Tiled:
    """A stack and how to run it. A tile is exact with `halo` frames before it. A reduced batch stays reduced.

    `graphs` of the stack, and of what runs before or after it.
    """

    stack: Stack
    halo: int
    way: Way
    graphs: Graphs | None = None

    @property
    def run(self) -> Run:
        """How functions of static shapes are called."""
        return directly if self.graphs is None else self.graphs

    def order(self, frames: Sequence[int]) -> list[int]:
        """Numbers of the recordings in an order in which those that run at once are neighbours: those of one length
        or, batching, of one window."""
        alike = frames if self.way.batch is None else windows(frames, self.halo + self.way.tile)
        return sorted(range(len(frames)), key=alike.__getitem__)

    def pieces(self, load: Load, frames: Sequence[int]) -> Iterator[Tensor]:
        """The rows of all recordings, in order, in pieces [rows, width]."""
        if self.way.batch is None:
            row = 0
            for many, length in together(frames, self.way.tile):
                yield from _carrying(self.stack, load, (row, row + many * length), many, self.way.tile)
                row += many * length
        else:
            yield from self._batching(load, frames, self.way.batch)

    def within_memory(self, call: Callable[[], Result]) -> Result:
        """`call()`, repeated with half the batch while device memory runs out. Where one tile does not fit either, it
        was not the batch, which is as before: DeviceOutOfMemory."""
        before = self.way
        while True:
            full = times_full(self.way.device)
            try:
                return call()
            except RuntimeError as error:
                message = str(error).partition("\n")[0]
                lacked = NO_ENGINE in message and times_full(self.way.device) > full
                if not (isinstance(error, torch.OutOfMemoryError) or FULL.search(message) or lacked):
                    raise
            # outside of the handler: the error's traceback keeps tensors alive
            on_cuda = self.way.device.type == "cuda"
            if on_cuda:
                torch.cuda.synchronize(self.way.device)  # what was launched may still use what is given back
            if self.graphs is not None:
                self.graphs.forget()
            if on_cuda:
                torch.cuda.empty_cache()
            if self.way.batch is None or self.way.batch == 1:
                self.way = before
                raise DeviceOutOfMemory(
                    f"Not even one tile at a time fits on {self.way.device}; free memory there, or use another device: "
                    f"{message}"
                )
            self.way = self.way._replace(batch=self.way.batch // 2)
            log.warning("%s is out of memory; continuing with batches of %d tiles", self.way.device, self.way.batch)

    def _batching(self, load: Load, frames: Sequence[int], batch: int) -> Iterator[Tensor]:
        """Calls of the stack have the shape [batch, halo + tile], or that of a shorter window."""
        window = self.halo + self.way.tile
        tiles, shapes = zip(*groups(cut(frames, window, self.halo), window, batch), strict=True)
        first = np.array(offsets(frames))
        spans = [(first[g[0].recording] + g[0].start, first[g[-1].recording] + g[-1].stop) for g in tiles]
        each: list[np.ndarray] = []
        for group, at, shape in zip(tiles, spans, shapes, strict=True):
            each += rows_of_tiles(group, at, first, shape)
        parts = iter(uploaded(each, self.way.device))
        blank: Tensor | None = None
        for rows, shape in zip(load(spans), shapes, strict=True):
            if blank is None:
                blank = rows.new_zeros(1, rows.shape[1])
            x = torch.cat((rows, blank)).index_select(0, next(parts)).unflatten(0, shape)
            (found,) = self.run(Tiles(self.stack), len(x), x)
            yield found.flatten(0, 1).index_select(0, next(parts))


@dataclass(frozen=True)
class Tiles:
    """What is run of a stack. No method of Tiled, whose graphs keep it: they would keep Tiled, and it keeps them."""

    stack: Stack

    def __call__(self, x: Tensor) -> tuple[Tensor]:
        return (self.stack(x),)


def _carrying(stack: Stack, load: Load, span: Span, many: int, tile: int) -> Iterator[Tensor]:
    """Of the `span` of one recording, or of `many` that one tile holds."""
    spans = [(low, min(low + tile, span[1])) for low in range(*span, tile)]
    carried: Carried = {}
    for rows in load(spans):
        yield stack(rows.unflatten(0, (many, -1)), carried).flatten(0, 1)


def joined(parts: Iterable[Tensor], total: int) -> Tensor:
    """Pieces [rows, width] -> one tensor [total, width]; rows beyond those of all pieces are 0."""
    out: Tensor | None = None
    row = 0
    for part in parts:
        if out is None:
            out = part.new_empty(total, part.shape[1])
        out[row : row + len(part)] = part
        row += len(part)
    assert out is not None, "no rows"
    out[row:] = 0
    return out


def whole_recordings(call: Callable[[Tensor], Tensor], rows: Tensor, frames: Sequence[int], most: int) -> Tensor:
    """The rows of all recordings -> those of `call`, [B, F, ...] -> [B, F, ...], on as many as run at once."""
    shapes = list(together(frames, most))
    parts = rows.split([many * length for many, length in shapes])
    return torch.cat([call(part.unflatten(0, shape)).flatten(0, 1) for part, shape in zip(parts, shapes, strict=True)])
