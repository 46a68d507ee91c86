"""x -> activation of x, written into a given tensor: ELU, and upstream's SnakeBeta from its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actors.network.weights import Weights

Activation = Callable[[Tensor, Tensor], object]
"""(x, out): writes the activation of x into `out`, which may be x."""


def elu(x: Tensor, out: Tensor) -> None:
    """The encoder's activation."""
    _write(torch.ops.aten.elu, x, out=out)


@dataclass(frozen=True)
class Snake:
    """x + sin(alpha x)^2 / beta; `rate` [C] is alpha, `root` [C] the square root of 1 / beta, computed in fp32."""

    rate: Tensor
    root: Tensor

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Writes the activation of x into `out`, which may be x."""
        wave = (x * self.rate).sin_().mul_(self.root)
        _write(torch.ops.aten.addcmul, x, wave, wave, out=out)


def snake(weights: Weights, channels: int) -> Snake:
    """From "alpha" and "beta" [channels], which are logarithms.

    Computed in fp32, because upstream's guard 1e-9 underflows in fp16.
    """
    rate = weights.read("alpha", channels).exp()
    root = (1.0 / (weights.read("beta", channels).exp() + 1e-9)).sqrt()
    return Snake(weights.placed(rate), weights.placed(root))


def _write(operation: Any, *inputs: Tensor, out: Tensor) -> None:
    """The operation's result in `out`, in one pass. torch.compile refuses a strided `out=`, and fuses the copy."""
    if torch.compiler.is_compiling():
        out.copy_(operation(*inputs))
    else:
        operation.out(*inputs, out=out)
