"""What the plan measures, and how much of it: a checkpoint on a device, and the sizes that suit the device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from actors.codec import Codec
from actors.errors import VoxmillError

PARTS = ("encode", "decode")


class Subject(NamedTuple):
    """`precisions`: fp32 first, then the others that are asked for."""

    folder: Path
    device: torch.device
    precisions: tuple[str, ...]

    def load(self, precision: str = "auto", **options: Any) -> Codec:
        """The checkpoint on the device; `options` as in Codec.load."""
        return Codec.load(str(self.folder), str(self.device), precision, **options)


class Size(NamedTuple):
    """How much each step takes. Seconds are of audio."""

    longest_s: float  # longest clip of a call
    compared_s: float  # compared with upstream, code by code
    decoded_s: float  # decoded and compared
    alone: int  # clips that are encoded without company too
    long_s: float  # one recording in one call
    call_s: tuple[float, ...]  # of one timed call; the first one is the default
    batches: tuple[int, ...]  # tiles at once that are tried
    accelerations: tuple[str, ...]
    calls: int  # with lengths never seen, at each visit to a setup
    blocks: int  # that the simulated reader hands over


ON_CUDA = Size(35, 300, 60, 24, 3600, (350, 2800), (8, 16, 32, 64, 128), ("none",), 3, 24)
"""350 s are a block of 32 MiB as the pipeline hands it over, 2,800 s one of 256 MiB."""
ON_CPU = Size(2.5, 5, 2, 2, 12, (3,), (2,), ("none",), 1, 4)
"""Seconds of audio: enough to compare codes, and to run every line of the plan."""


def size_for(device: torch.device) -> Size:
    """The size that the plan has on a device."""
    return ON_CUDA if device.type == "cuda" else ON_CPU


def keep(figures: dict[str, Any], name: str, left_out: dict[str, str], call: Callable[[], dict[str, Any]]) -> None:
    """`figures[name] = call()`. What cannot run here (no memory) is noted in `left_out`: the rest runs."""
    try:
        figures[name] = call()
    except (RuntimeError, VoxmillError) as error:
        left_out[name] = f"{type(error).__name__}: {error}"
