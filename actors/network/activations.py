"""x -> activation of x, written into a given tensor: ELU, and upstream's SnakeBeta from its weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from actors.network.one_kernel import in_one_kernel
from actors.network.weights import Weights

Activation = Callable[[Tensor, Tensor], object]
"""(x, out), both [B, T, C]: writes the activation of x into `out`, which may be x."""


@dataclass(frozen=True)
class Elu:
    """The encoder's activation, of x + `bias` [C]: what the layers before deferred (see `build_conv`)."""

    bias: Tensor | None = None

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Writes the activation of x into `out`, which may be x."""
        if in_one_kernel(x):
            torch.ops.voxmill.elu(x, self.bias, out=out)
        else:
            torch.ops.aten.elu.out(_plus(x, self.bias), out=out)


@dataclass(frozen=True)
class Snake:
    """y + sin(alpha y)^2 / beta of y = x + `bias`, as in Elu; `rate` [C] is alpha, `root` [C] the square root of
    1 / beta, computed in fp32."""

    rate: Tensor
    root: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Writes the activation of x into `out`, which may be x."""
        if in_one_kernel(x):
            torch.ops.voxmill.snake(x, self.bias, self.rate, self.root, out=out)
        else:
            x = _plus(x, self.bias)
            wave = (x * self.rate).sin_().mul_(self.root)
            torch.ops.aten.addcmul.out(x, wave, wave, out=out)


def snake(weights: Weights, channels: int, bias: Tensor | None = None) -> Snake:
    """From "alpha" and "beta" [channels], which are logarithms.

    Computed in fp32, because upstream's guard 1e-9 underflows in fp16.
    """
    rate = weights.read("alpha", channels).exp()
    root = (1.0 / (weights.read("beta", channels).exp() + 1e-9)).sqrt()
    return Snake(weights.placed(rate), weights.placed(root), bias)


def _plus(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias
