"""Weights of a convolution -> the same layer on time-major tensors [B, T, C].

Time-major is the memory layout that oneDNN and cuDNN run fastest (channels last). It makes a pointwise convolution a
plain matrix product, and a transposed one a product of neighbouring steps: no reordering, no scatter. Kernel, stride
and padding are Python ints (transformers' MimiConv1d keeps them as tensors, a host synchronisation per layer).

Every causal layer takes `carried`. None: x starts a recording or a tile, and is padded with zeros. A dict: the last
inputs of each layer, updated by the layers, so that a sequence may come in pieces.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.network.activations import Activation
from actors.network.weights import Weights
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach

MATMUL_WEIGHTS = 8_000_000
"""On a CPU, oneDNN reorders a convolution's weights at every call; with so many weights a matrix product is faster."""


def extend(layer: "Conv | UpConv", x: Tensor, carried: Carried | None, activation: Activation | None) -> Tensor:
    """The activation of x [B, T, C] behind the `layer.left` steps before it, [B, left + T, C]: one pass, one copy."""
    batch, steps, channels = x.shape
    out = x.new_empty(batch, layer.left + steps, channels)
    out[:, : layer.left] = 0 if carried is None or layer not in carried else carried[layer]
    body = out[:, layer.left :]
    if activation is None:
        body.copy_(x)
    else:
        activation(x, body)
    if carried is not None:
        carried[layer] = out[:, steps:].clone()  # a view would keep all of `out` in memory
    return out


@dataclass(frozen=True, eq=False)
class Conv:
    """A causal convolution. `weight` [out, in / groups, 1, kernel], or [out, kernel * in] if it runs as a product."""

    weight: Tensor
    bias: Tensor | None
    kernel: int
    stride: int
    dilation: int
    groups: int
    as_product: bool

    @property
    def left(self) -> int:
        """Inputs before its own stretch that the first output sees."""
        return (self.kernel - 1) * self.dilation + 1 - self.stride

    @property
    def reach(self) -> Reach:
        return Reach(self.kernel, self.stride, self.dilation)

    def __call__(self, x: Tensor, carried: Carried | None = None, activation: Activation | None = None) -> Tensor:
        """x [B, T, in], T a multiple of the stride -> [B, T / stride, out]. A pointwise one activates x in place."""
        if self.kernel == 1:
            if activation is not None:
                activation(x, x)
            return F.linear(x, self.weight, self.bias)
        x = extend(self, x, carried, activation)
        if self.as_product:
            steps = x.unfold(1, self.kernel, self.stride).transpose(2, 3).flatten(2)
            return F.linear(steps, self.weight, self.bias)
        image = x.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T] with the strides of channels_last
        y = F.conv2d(image, self.weight, self.bias, (1, self.stride), 0, (1, self.dilation), self.groups)
        return y.squeeze(2).transpose(1, 2)

    def seen(self, first: Tensor, blank: int | None) -> Tensor:
        """Rows [N, kernel] of its input that each row of its output sees, in a pack whose recordings start in the rows
        `first` [N] of the output. Before a recording: row `blank`, or (None) the recording's first row again."""
        start = first[:, None] * self.stride
        rows = torch.arange(len(first), device=first.device)[:, None] * self.stride
        rows = rows + torch.arange(-self.left, self.kernel - self.left, device=first.device)
        return torch.maximum(rows, start) if blank is None else rows.masked_fill_(rows < start, blank)

    def packed(self, x: Tensor, seen: Tensor) -> Tensor:
        """x [M, in] and rows of it [N, kernel] -> [N, out]: a product, whose speed does not depend on new lengths."""
        weight = self.weight if self.as_product else self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(x.index_select(0, seen.flatten()).view(len(seen), -1), weight, self.bias)


class Size(NamedTuple):
    """Of a convolution; `inputs` and `outputs` are channels."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


def conv(weights: Weights, size: Size, bias: bool = True) -> Conv:
    """A causal layer from its "weight" [out, in / groups, kernel] and "bias"."""
    inputs, outputs, kernel, stride, dilation, groups = size
    weight = weights.read("weight", outputs, inputs // groups, kernel)
    large = weight.numel() >= MATMUL_WEIGHTS
    as_product = weights.device.type == "cpu" and large and kernel > 1 and dilation == groups == 1
    if kernel == 1:
        weight = weight[..., 0]
    elif as_product:
        weight = weight.transpose(1, 2).flatten(1)
    else:
        weight = weight.unsqueeze(2)
    form = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    weight = weights.placed(weight).contiguous(memory_format=form)
    return Conv(weight, weights.get("bias", outputs) if bias else None, kernel, stride, dilation, groups, as_product)


def linear(weights: Weights, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer, as F.linear takes them."""
    return weights.get("weight", outputs, inputs), weights.get("bias", outputs)


@dataclass(frozen=True, eq=False)
class UpConv:
    """A transposed convolution cut on the right, kernel = taps * stride: step t gives `stride` outputs from its input
    and the taps - 1 before it. `weight` [stride * out, taps * in], `bias` [stride * out]."""

    weight: Tensor
    bias: Tensor
    taps: int
    stride: int

    @property
    def left(self) -> int:
        """Inputs before its own stretch that the first output sees."""
        return self.taps - 1

    @property
    def reach(self) -> Reach:
        return Reach(self.taps * self.stride, self.stride, up=True)

    def __call__(self, x: Tensor, carried: Carried | None = None, activation: Activation | None = None) -> Tensor:
        """x [B, T, in] -> [B, T * stride, out]."""
        batch, steps, _ = x.shape
        if self.left or activation is not None:
            x = extend(self, x, carried, activation)
        if self.left:
            x = torch.cat([x[:, self.left - tap : self.left - tap + steps] for tap in range(self.taps)], 2)
        return F.linear(x, self.weight, self.bias).reshape(batch, steps * self.stride, -1)


def up_conv(weights: Weights, inputs: int, outputs: int, taps: int, stride: int) -> UpConv:
    """A causal transposed layer from its "weight" [in, out, taps * stride] and "bias" [out]."""
    weight = weights.read("weight", inputs, outputs, taps * stride).unflatten(2, (taps, stride))
    weight = weight.permute(3, 1, 2, 0).flatten(2).flatten(0, 1)  # [phase * out, tap * in]
    bias = weights.get("bias", outputs).repeat(stride)
    return UpConv(weights.placed(weight).contiguous(), bias, taps, stride)
