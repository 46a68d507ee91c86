"""Upstream's convolution modules -> the same layers on time-major tensors [B, T, C].

Time-major is the memory layout that oneDNN and cuDNN run fastest (channels last). It makes a pointwise convolution a
plain matrix product, and a transposed one a product of neighbouring steps: no reordering, no scatter. Kernel, stride
and padding are Python ints (transformers' MimiConv1d keeps them as tensors, a host synchronisation per layer).

Every causal layer takes `carried`. None: x starts a recording or a tile, and is padded with zeros. A dict: the last
inputs of each layer, updated by the layers, so that a sequence may come in pieces.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach

MATMUL_WEIGHTS = 8_000_000
"""On a CPU, oneDNN reorders a convolution's weights at every call; with so many weights a matrix product is faster."""

Activation = Callable[[Tensor, Tensor], object]
"""(x, out): writes the activation of x into `out`, which may be x."""


def elu(x: Tensor, out: Tensor) -> None:
    """The encoder's activation."""
    torch.ops.aten.elu.out(x, out=out)


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
    """A causal convolution. `weight` [out, in / groups, kernel], or [kernel * in, out] where it runs as a product."""

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


def own(parameter: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A copy, so that upstream's modules can be freed."""
    return parameter.detach().to(device, dtype, copy=True)


def conv(module: nn.Conv1d, device: torch.device, dtype: torch.dtype) -> Conv:
    """A causal layer from the weights of `module`."""
    kernel, stride, dilation = module.kernel_size[0], module.stride[0], module.dilation[0]
    weight = module.weight.detach()  # [out, in / groups, kernel]
    as_product = device.type == "cpu" and weight.numel() >= MATMUL_WEIGHTS and dilation == module.groups == 1
    if kernel == 1:
        weight = weight[..., 0]
    elif as_product:
        weight = weight.transpose(1, 2).flatten(1)
    else:
        weight = weight.unsqueeze(2)
    form = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    weight = weight.to(device, dtype, copy=True).contiguous(memory_format=form)
    bias = None if module.bias is None else own(module.bias, device, dtype)
    return Conv(weight, bias, kernel, stride, dilation, module.groups, as_product)


@dataclass(frozen=True, eq=False)
class UpConv:
    """A transposed convolution cut on the right, kernel = taps * stride: step t gives `stride` outputs from its input
    and the taps - 1 before it. `weight` [stride * out, taps * in], `bias` [stride * out]."""

    weight: Tensor
    bias: Tensor | None
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


def up_conv(module: nn.ConvTranspose1d, device: torch.device, dtype: torch.dtype) -> UpConv:
    """A causal transposed layer from the weights of `module`; its kernel is a multiple of its stride."""
    kernel, stride = module.kernel_size[0], module.stride[0]
    taps, odd = divmod(kernel, stride)
    assert not odd, f"transposed convolution of kernel {kernel} and stride {stride}"
    weight = module.weight.detach().unflatten(2, (taps, stride))  # [in, out, tap, phase]
    weight = weight.permute(3, 1, 2, 0).flatten(2).flatten(0, 1)  # [phase * out, tap * in]
    bias = None if module.bias is None else module.bias.detach().repeat(stride).to(device, dtype)
    return UpConv(weight.to(device, dtype).contiguous(), bias, taps, stride)


@dataclass(frozen=True)
class Snake:
    """x + sin(alpha x)^2 / beta; `rate` [C] is alpha, `root` [C] the square root of 1 / beta, computed in fp32."""

    rate: Tensor
    root: Tensor

    def __call__(self, x: Tensor, out: Tensor) -> None:
        """Writes the activation of x into `out`, which may be x."""
        wave = (x * self.rate).sin_().mul_(self.root)
        torch.addcmul(x, wave, wave, out=out)


def snake(alpha: Tensor, beta: Tensor, device: torch.device, dtype: torch.dtype) -> Snake:
    """From upstream's logarithms [C]. Computed in fp32, because upstream's guard 1e-9 underflows in fp16."""
    rate = alpha.detach().float().exp()
    root = (1.0 / (beta.detach().float().exp() + 1e-9)).sqrt()
    return Snake(rate.to(device, dtype), root.to(device, dtype))
