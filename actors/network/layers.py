"""Weights of convolutions -> the same layers on time-major tensors [B, T, C], and the residual unit of both stacks.

Time-major is the memory layout that oneDNN and cuDNN run fastest (channels last). It makes a pointwise convolution a
plain matrix product, and a transposed one a product or a convolution of neighbouring steps: no reordering, no scatter.
A dilated one can run, on the same memory, as an undilated one of as many phases. Kernel, stride and padding are Python
ints (transformers' MimiConv1d keeps them as tensors, a host synchronisation per layer).

Every causal layer takes `carried`. None: x starts a recording or a tile, and is padded with zeros. A dict: the last
inputs of each layer, updated by the layers, so that a sequence may come in pieces.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from actors.network.activations import Activation
from actors.network.convolution import convolution
from actors.network.rows import Onto, Rows, product, product_onto
from actors.network.weights import Weights
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach, whole

PRODUCT_WEIGHTS = 1_500_000
"""With so many weights a convolution is faster as a product on a CPU, since oneDNN lays them out again at every call:
kernels of 12 on 256 channels, for 1, 7 and 25 frames, run at 96, 88 and 97 GFLOP/s a core and not at 21, 67 and 91."""


def is_on_cuda(weight: Tensor) -> bool:
    """Whether layers take the forms that are fast on CUDA. All of them run everywhere."""
    return weight.device.type == "cuda"


def extend(layer: "Conv", x: Tensor, carried: Carried | None, activation: Activation | None) -> Tensor:
    """The activation of x [B, T, C] behind the `layer.left` steps before it: one pass, one copy. After them zeros, up
    to a multiple of the layer's phases."""
    batch, steps, channels = x.shape
    length = whole(layer.left + steps, layer.phases) * layer.phases
    out = x.new_empty(batch, length, channels)
    if length > layer.left + steps:
        out[:, layer.left + steps :] = 0  # no result is kept of these, but kernels by Fourier transforms mix all steps
    out[:, : layer.left] = 0 if carried is None or layer not in carried else carried[layer]
    body = out[:, layer.left : layer.left + steps]
    if activation is None:
        body.copy_(x)
    else:
        activation(x, body)
    if carried is not None:
        carried[layer] = out[:, steps : steps + layer.left].clone()  # a view would keep all of `out` in memory
    return out


@dataclass(frozen=True, eq=False)
class Conv:
    """A causal convolution: `function` of an image [B, in, T / phases, phases] (of one phase: [B, in, 1, T]) or,
    `as_product`, of what each step of its output sees, [..., kernel * in].

    `deferred`: a bias [out] that the next activation adds.
    """

    function: Rows
    as_product: bool
    kernel: int
    stride: int
    dilation: int
    phases: int = 1
    deferred: Tensor | None = None

    @property
    def left(self) -> int:
        """Inputs before its own stretch that the first output sees."""
        return (self.kernel - 1) * self.dilation + 1 - self.stride

    @property
    def reach(self) -> Reach:
        return Reach(self.kernel, self.stride, self.dilation)

    def __call__(self, x: Tensor, carried: Carried | None = None, activation: Activation | None = None) -> Tensor:
        """x [B, T, in], T a multiple of the stride -> [B, T / stride, out]."""
        steps = x.shape[1] // self.stride
        if self.kernel > 1 or activation is not None:
            x = extend(self, x, carried, activation)
        if self.as_product:
            reach = (self.kernel - 1) * self.dilation + 1
            seen = x.unfold(1, reach, self.stride)[..., :: self.dilation].transpose(2, 3).flatten(2)
            return self.function(seen)
        if self.phases > 1:
            image = x.unflatten(1, (-1, self.phases)).permute(0, 3, 1, 2)
            return self.function(image).permute(0, 2, 3, 1).flatten(1, 2)[:, :steps]
        image = x.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T] with the strides of channels_last
        return self.function(image).squeeze(2).transpose(1, 2)

    def seen(self, first: Tensor, blank: int | None) -> Tensor:
        """Rows [N, kernel] of its input that each row of its output sees, in a pack whose recordings start in the rows
        `first` [N] of the output. Before a recording: row `blank`, or (None) the recording's first row again."""
        start = first[:, None] * self.stride
        rows = torch.arange(len(first), device=first.device)[:, None] * self.stride
        rows = rows + torch.arange(-self.left, self.kernel - self.left, device=first.device)
        return torch.maximum(rows, start) if blank is None else rows.masked_fill_(rows < start, blank)


def gathered(x: Tensor, seen: Tensor) -> Tensor:
    """x [M, in] and the rows of it that each row of an output has `seen` [N, kernel] -> [N, kernel * in], which the
    `function` of a Conv takes that is a product: its speed does not depend on new lengths."""
    return x.index_select(0, seen.flatten()).view(len(seen), -1)


class Size(NamedTuple):
    """Of a convolution; `inputs` and `outputs` are channels."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


def conv(weights: Weights, size: Size, bias: bool = True, as_product: bool = False, defers_bias: bool = False) -> Conv:
    """A causal layer from its "weight" [out, in / groups, kernel] and "bias"; see `build_conv`."""
    weight = weights.get("weight", size.outputs, size.inputs // size.groups, size.kernel)
    return build_conv(weight, weights.get("bias", size.outputs) if bias else None, size, as_product, defers_bias)


def build_conv(weight: Tensor, bias: Tensor | None, size: Size, as_product: bool, defers_bias: bool) -> Conv:
    """The layer of a weight [out, in / groups, kernel] and a bias [out]; `as_product` where it is to be `packed`.

    Others run as a product where that is faster: with PRODUCT_WEIGHTS on a CPU. `defers_bias`: on CUDA the bias is
    `deferred`: there a convolution takes a pass of its own over memory to add it.
    """
    on_cuda, parameters = is_on_cuda(weight), (size.kernel, size.stride, size.dilation)
    deferred = bias if defers_bias and on_cuda else None
    bias = None if defers_bias and on_cuda else bias
    many = weight.numel() >= PRODUCT_WEIGHTS and not on_cuda and size.groups == 1
    if as_product or many:
        return Conv(product(weight.transpose(1, 2).flatten(1), bias), True, *parameters, deferred=deferred)
    if size.dilation > 1 and on_cuda:
        # The image of one column is one of as many columns as the dilation: undilated, one stride, the same memory.
        # cuDNN's own with dilation 9 on 384 channels takes 1,000 times as long.
        by_phases = convolution(weight.unsqueeze(3), bias, on_cuda)
        return Conv(by_phases, False, *parameters, phases=size.dilation, deferred=deferred)
    function = convolution(weight.unsqueeze(2), bias, on_cuda, (1, size.stride), (1, size.dilation), size.groups)
    return Conv(function, False, *parameters, deferred=deferred)


@dataclass(frozen=True, eq=False)
class UpConv:
    """A transposed convolution cut on the right, kernel = taps * stride: step t gives `stride` outputs from its input
    and the taps - 1 before it. `conv` gives the `stride` outputs of a step as one, [B, T, stride * out].
    `deferred` [out] as of a Conv."""

    conv: Conv
    stride: int
    deferred: Tensor | None

    @property
    def reach(self) -> Reach:
        return Reach(self.conv.kernel * self.stride, self.stride, up=True)

    def __call__(self, x: Tensor, carried: Carried | None = None, activation: Activation | None = None) -> Tensor:
        """x [B, T, in] -> [B, T * stride, out]."""
        batch, steps, _ = x.shape
        return self.conv(x, carried, activation).reshape(batch, steps * self.stride, -1)


def up_conv(weights: Weights, inputs: int, outputs: int, taps: int, stride: int) -> UpConv:
    """A causal transposed layer from its "weight" [in, out, taps * stride] and "bias" [out]; as a product, but of
    several taps on CUDA: what it sees would have to be copied for that."""
    weight = weights.read("weight", inputs, outputs, taps * stride).unflatten(2, (taps, stride))
    weight = weight.permute(3, 1, 0, 2).flatten(0, 1).flip(2)  # [phase * out, in, taps], the latest last
    bias = weights.get("bias", outputs)
    weight, size = weights.placed(weight), Size(inputs, stride * outputs, taps)
    as_image = taps > 1 and is_on_cuda(weight)
    conv = build_conv(weight, bias.repeat(stride), size, not as_image, as_image)
    return UpConv(conv, stride, bias if as_image else None)


@dataclass(frozen=True)
class Unit:
    """A residual unit: x + outer(between(inner(before(x)))); `outer` is pointwise. `deferred` as of a Conv."""

    before: Activation
    inner: Conv
    between: Activation
    outer: Onto
    deferred: Tensor | None

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        """x [B, T, C] -> [B, T, C], in place."""
        inside = self.inner(x, carried, self.before)
        active = inside if inside.is_contiguous() else inside.new_empty(inside.shape)
        self.between(inside, active)
        return self.outer(active, x)


def outer(weights: Weights, inputs: int, outputs: int, deferred: Tensor | None) -> tuple[Onto, Tensor | None]:
    """The pointwise layer that ends a Unit, and what is `deferred` after it; the argument: before the Unit."""
    weight = weights.get("weight", outputs, inputs, 1)[..., 0]
    bias = weights.get("bias", outputs)
    if not is_on_cuda(weight):
        return product_onto(weight, bias), deferred
    return product_onto(weight), bias if deferred is None else bias + deferred
