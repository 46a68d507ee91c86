"""The type of a stack of causal convolutions, and of what its layers carry from tile to tile."""

from collections.abc import Callable

from torch import Tensor

Carried = dict[object, Tensor]
"""layer -> its last inputs [B, layer.left, C]; empty at a recording's start."""

Stack = Callable[[Tensor, Carried | None], Tensor]
"""[B, F, input row] -> [B, F, output row]; with a Carried, as the continuation of earlier calls."""
