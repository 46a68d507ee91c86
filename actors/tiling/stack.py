"""What the tiles run through: a stack of causal convolutions, and what its layers carry from tile to tile."""

from collections.abc import Callable

from torch import Tensor

Carried = dict[object, Tensor]
"""layer -> its last inputs [B, layer.left, C]; empty before a recording's start."""


Stack = Callable[[Tensor, Carried | None], Tensor]
"""[B, F, input row] -> [B, F, output row]; with a Carried, after what that has seen."""
