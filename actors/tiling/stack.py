"""The type of a stack of causal convolutions, and of what its layers carry from tile to tile."""

from typing import Protocol

from torch import Tensor

Carried = dict[object, Tensor]
"""layer -> its last inputs [B, layer.left, C]; empty at a recording's start."""


class Stack(Protocol):
    """A stack of causal convolutions, known by identity."""

    def __call__(self, rows: Tensor, carried: Carried | None = None, /) -> Tensor:
        """[B, F, input row] -> [B, F, output row]; with a Carried, as the continuation of earlier calls."""
