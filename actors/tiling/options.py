"""Choices for speed, a device and a half of the network -> how that half's convolutions run."""

from dataclasses import dataclass
from typing import Protocol

import torch

from actors.contract import FRAME_RATE, FRAME_SAMPLES
from actors.errors import SettingsError
from actors.tiling.cuda_graphs import Graphs, capture
from actors.tiling.run_tiles import Tiled, Way
from actors.tiling.stack import Stack

TILES = {("cpu", "encode"): 40, ("cpu", "decode"): 16, ("cuda", "encode"): 24, ("cuda", "decode"): 40}
"""Frames of a tile of a long recording. On 2 cores the fastest of 1 to 50: long enough for fast matrix products, short
enough for the caches. On CUDA those that compute the fewest frames, by arithmetic, of clips of 1 to 35 s (median 6 s):
a halo of 2 or 10 frames is computed twice, and about half of a recording's last tile is padding. With the halo they are
windows of 26 and 50 frames; clips of 0.5, 1 and 2 s have 7, 13 and 25, which are what `windows` halves those to."""
CUDA_TILES = 32
"""Tiles at once on CUDA, whatever memory is free: kernels are chosen by shape, and with them how they round. More of
them pad more in the last batch: of 350 s of such clips 1.51 times the frames are encoded by 64, 1.33 times by 32. Where
they do not fit, `within_memory` halves them, and codes may differ in ties from those of a larger device."""
WIDEST = 96
"""Channels of the official network at the full rate, in the decoder."""
MAX_FRAMES = 2**31 // (FRAME_SAMPLES * WIDEST)


@dataclass(frozen=True)
class Options:
    """Choices for speed. They do not change the codes, except by TF32 and float rounding."""

    tile_s: float | None
    tile_batch: int | None
    accelerate: str  # none or graphs
    tf32: bool


class Half(Protocol):
    """An encoder or a decoder, as far as its convolutions go."""

    @property
    def convolutions(self) -> Stack:
        """The stack."""

    @property
    def halo(self) -> int:
        """Frames before a tile with which it is exact."""


def choose_tiles(part: str, half: Half, device: torch.device, dtype: torch.dtype, options: Options) -> Tiled:
    """How `part` (encode, decode) runs on this device.

    Raises SettingsError where tiles are too many or too long.
    """
    tile = TILES[device.type, part] if options.tile_s is None else max(1, round(options.tile_s * FRAME_RATE))
    batch = options.tile_batch or (CUDA_TILES if device.type == "cuda" else None)
    if batch is not None and batch * (half.halo + tile) >= MAX_FRAMES:
        raise SettingsError(
            f"tile_batch {batch} of tiles of {tile} frames are too much at once for kernels that count in 32 bits:"
            f" with halos of {half.halo} frames there may be {MAX_FRAMES} frames. Lower tile_batch or tile_s."
        )
    graphs = Graphs(capture) if options.accelerate == "graphs" else None
    return Tiled(half.convolutions, half.halo, Way(device, dtype, tile, batch, options.tf32), graphs)
