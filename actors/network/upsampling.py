"""Latents of frames -> audio: the decoder's stack of causal convolutions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.config import DecoderConfig
from actors.network.activations import Snake, snake
from actors.network.layers import Conv, Size, Unit, UpConv, conv, outer, up_conv
from actors.network.rows import Rows, linear
from actors.network.weights import Weights
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach


@dataclass(frozen=True)
class Next:
    """An upsampling convolution and the ConvNeXt block after it."""

    up: UpConv
    depthwise: Conv
    norm: tuple[Tensor, Tensor, float]
    wide: Rows
    narrow: Rows
    scale: Tensor

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        x = self.up(x, carried)
        weight, bias, eps = self.norm
        y = F.layer_norm(self.depthwise(x, carried), weight.shape, weight, bias, eps)
        y = self.narrow(F.gelu(self.wide(y)))
        return torch.addcmul(x, y, self.scale)


@dataclass(frozen=True)
class Block:
    """A transposed convolution and the residual units after it."""

    before: Snake
    up: UpConv
    units: list[Unit]

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        x = self.up(x, carried, self.before)
        for unit in self.units:
            x = unit(x, carried)
        return x


@dataclass(frozen=True, eq=False)
class Convolutions:
    """The upsampling stack: most of the work of decoding."""

    nexts: list[Next]
    first: Conv
    blocks: list[Block]
    before: Snake
    last: Conv

    @property
    def reaches(self) -> list[Reach]:
        """The reach of each layer, in order."""
        layers: list[Conv | UpConv] = [layer for step in self.nexts for layer in (step.up, step.depthwise)]
        layers.append(self.first)
        for block in self.blocks:
            layers += [block.up, *[unit.inner for unit in block.units]]
        return [layer.reach for layer in (*layers, self.last)]

    def __call__(self, latents: Tensor, carried: Carried | None = None) -> Tensor:
        """latents [B, F, D] -> audio fp32 [B, F, FRAME_SAMPLES] in [-1, 1]."""
        x = latents
        for step in self.nexts:
            x = step(x, carried)
        x = self.first(x, carried)
        for block in self.blocks:
            x = block(x, carried)
        audio = self.last(x, carried, self.before).float().clamp_(-1, 1)
        return audio.reshape(*latents.shape[:2], -1)


def convolutions(weights: Weights, config: DecoderConfig) -> Convolutions:
    """From "upsample" and "decoder" of upstream's Qwen3TTSTokenizerV2Decoder."""
    nexts = [_next(weights.at("upsample").at(i), config.latent_dim, n) for i, n in enumerate(config.upsampling_ratios)]
    stack, rates = weights.at("decoder"), config.upsample_rates
    widths = [config.decoder_dim // 2**index for index in range(len(rates) + 1)]
    first = conv(stack.at("0.conv"), Size(config.latent_dim, config.decoder_dim, 7), defers_bias=True)
    blocks, deferred = [], first.deferred
    for index, rate in enumerate(rates):
        block, deferred = _block(stack.at(index + 1).at("block"), widths[index : index + 2], rate, deferred)
        blocks.append(block)
    before = snake(stack.at(len(rates) + 1), widths[-1], deferred)
    last = conv(stack.at(len(rates) + 2).at("conv"), Size(widths[-1], 1, 7))
    return Convolutions(nexts, first, blocks, before, last)


def _next(weights: Weights, width: int, factor: int) -> Next:
    block = weights.at(1)
    norm = block.at("norm")
    return Next(
        up_conv(weights.at("0.conv"), width, width, 1, factor),
        conv(block.at("dwconv.conv"), Size(width, width, 7, groups=width)),
        (norm.get("weight", width), norm.get("bias", width), 1e-6),
        linear(block.at("pwconv1"), width, 4 * width),
        linear(block.at("pwconv2"), 4 * width, width),
        block.get("gamma", width),
    )


def _block(weights: Weights, widths: list[int], rate: int, deferred: Tensor | None) -> tuple[Block, Tensor | None]:
    """The block, and what is `deferred` after it; the argument: before it."""
    inputs, outputs = widths
    before, up = snake(weights.at(0), inputs, deferred), up_conv(weights.at("1.conv"), inputs, outputs, 2, rate)
    units: list[Unit] = []
    for index, dilation in ((2, 1), (3, 3), (4, 9)):
        units.append(_unit(weights.at(index), outputs, dilation, units[-1].deferred if units else up.deferred))
    return Block(before, up, units), units[-1].deferred


def _unit(weights: Weights, width: int, dilation: int, deferred: Tensor | None) -> Unit:
    inner = conv(weights.at("conv1.conv"), Size(width, width, 7, dilation=dilation), defers_bias=True)
    before, between = snake(weights.at("act1"), width, deferred), snake(weights.at("act2"), width, inner.deferred)
    return Unit(before, inner, between, *outer(weights.at("conv2.conv"), width, width, deferred))
