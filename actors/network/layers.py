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
from actors.network.rows import Rows, on_onednn, product
from actors.network.weights import Weights
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach

PRODUCT_WEIGHTS = 1_500_000
"""With so many weights a convolution is faster as a product on a CPU, since oneDNN lays them out again at every call:
kernels of 12 on 256 channels, for 1, 7 and 25 frames, run at 96, 88 and 97 GFLOP/s a core and not at 21, 67 and 91."""


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
    """A causal convolution: `function` of an image [B, in, 1, T] or, `as_product`, of what each step of its output
    sees, [..., kernel * in]."""

    function: Rows
    as_product: bool
    kernel: int
    stride: int
    dilation: int

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
            return self.function(x)
        x = extend(self, x, carried, activation)
        if self.as_product:
            reach = (self.kernel - 1) * self.dilation + 1
            steps = x.unfold(1, reach, self.stride)[..., :: self.dilation].transpose(2, 3).flatten(2)
            return self.function(steps)
        image = x.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T] with the strides of channels_last
        return self.function(image).squeeze(2).transpose(1, 2)

    def seen(self, first: Tensor, blank: int | None) -> Tensor:
        """Rows [N, kernel] of its input that each row of its output sees, in a pack whose recordings start in the rows
        `first` [N] of the output. Before a recording: row `blank`, or (None) the recording's first row again."""
        start = first[:, None] * self.stride
        rows = torch.arange(len(first), device=first.device)[:, None] * self.stride
        rows = rows + torch.arange(-self.left, self.kernel - self.left, device=first.device)
        return torch.maximum(rows, start) if blank is None else rows.masked_fill_(rows < start, blank)

    def packed(self, x: Tensor, seen: Tensor) -> Tensor:
        """x [M, in] and rows of it [N, kernel] -> [N, out], of one that runs as a product: its speed does not depend on
        new lengths."""
        return self.function(x.index_select(0, seen.flatten()).view(len(seen), -1))


class Size(NamedTuple):
    """Of a convolution; `inputs` and `outputs` are channels."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


def conv(weights: Weights, size: Size, bias: bool = True, as_product: bool = False) -> Conv:
    """A causal layer from its "weight" [out, in / groups, kernel] and "bias"; `as_product` where it is to be `packed`.

    Others run as a product where that is faster: with a kernel of 1, and with PRODUCT_WEIGHTS on a CPU.
    """
    weight = weights.get("weight", size.outputs, size.inputs // size.groups, size.kernel)
    added = weights.get("bias", size.outputs) if bias else None
    many = weight.device.type == "cpu" and weight.numel() >= PRODUCT_WEIGHTS and size.groups == 1
    as_product = as_product or many or size.kernel == 1
    function = product(weight.transpose(1, 2).flatten(1), added) if as_product else _conv2d(weight, added, size)
    return Conv(function, as_product, size.kernel, size.stride, size.dilation)


def _conv2d(weight: Tensor, bias: Tensor | None, size: Size) -> Rows:
    """An image [B, in, 1, T] -> [B, out, 1, T'], both with the strides of channels_last.

    On a CPU by oneDNN, whose result for an image does not depend on B: `conv2d` has another kernel for one small image.
    """
    weight = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    stride, dilation = (1, size.stride), (1, size.dilation)
    by_onednn = on_onednn(weight)

    def convolve(image: Tensor) -> Tensor:
        if by_onednn and not torch.compiler.is_compiling():  # torch.compile knows only the other
            return torch.mkldnn_convolution(image, weight, bias, (0, 0), stride, dilation, size.groups)
        return F.conv2d(image, weight, bias, stride, 0, dilation, size.groups)

    return convolve


@dataclass(frozen=True, eq=False)
class UpConv:
    """A transposed convolution cut on the right, kernel = taps * stride: step t gives `stride` outputs from its input
    and the taps - 1 before it: the `function` of rows [..., taps * in], [..., stride * out]."""

    function: Rows
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
        return self.function(x).reshape(batch, steps * self.stride, -1)


def up_conv(weights: Weights, inputs: int, outputs: int, taps: int, stride: int) -> UpConv:
    """A causal transposed layer from its "weight" [in, out, taps * stride] and "bias" [out]."""
    weight = weights.read("weight", inputs, outputs, taps * stride).unflatten(2, (taps, stride))
    weight = weight.permute(3, 1, 2, 0).flatten(2).flatten(0, 1)  # [phase * out, tap * in]
    bias = weights.get("bias", outputs).repeat(stride)
    return UpConv(product(weights.placed(weight), bias), taps, stride)
