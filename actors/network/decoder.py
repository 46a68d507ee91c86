"""Codes -> latents -> audio: the decoder's parts, as functions of tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from actors.contract import FRAME_SAMPLES
from actors.network.attention import Past
from actors.network.layers import Conv, Snake, UpConv, conv, own, snake, up_conv
from actors.network.quantizer import Dequantizer, dequantizer
from actors.network.transformer import Norm, Transformer, decoder_transformer, rms_norm
from actors.tiling.run_tiles import Span, Tiled
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach, left_reach
from actors.tiling.transfer import fetched


@dataclass(frozen=True)
class Next:
    """An upsampling convolution and the ConvNeXt block after it; `wide` and `narrow` as F.linear takes them."""

    up: UpConv
    depthwise: Conv
    norm: tuple[Tensor, Tensor, float]
    wide: tuple[Tensor, Tensor]
    narrow: tuple[Tensor, Tensor]
    scale: Tensor

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        x = self.up(x, carried)
        weight, bias, eps = self.norm
        y = F.layer_norm(self.depthwise(x, carried), weight.shape, weight, bias, eps)
        y = F.linear(F.gelu(F.linear(y, *self.wide)), *self.narrow)
        return torch.addcmul(x, y, self.scale)


@dataclass(frozen=True)
class Unit:
    """A residual unit."""

    before: Snake
    inner: Conv
    between: Snake
    outer: Conv

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        return self.outer(self.inner(x, carried, self.before), carried, self.between).add_(x)


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


@dataclass(frozen=True)
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
            layers += [block.up, *[layer for unit in block.units for layer in (unit.inner, unit.outer)]]
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


@dataclass(frozen=True)
class Decoder:
    """The decoder's weights on one device."""

    dequantize: Dequantizer
    first: Conv
    into: tuple[Tensor, Tensor]
    transformer: Transformer
    norm: Norm
    out_of: tuple[Tensor, Tensor]
    convolutions: Convolutions

    @property
    def row(self) -> int:
        """Width of one frame of latents, the input of the convolutions."""
        return self.out_of[0].shape[0]

    @property
    def halo(self) -> int:
        """Frames of left context with which a tile of the convolutions is exact."""
        return left_reach(self.convolutions.reaches)

    def latents(self, codes: Tensor) -> Tensor:
        """Codes of whole recordings int [B, F, K], padded with any codes -> latents [B, F, D]."""
        x = self.dequantize(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        x = F.linear(self.first(x), *self.into)
        return F.linear(self.norm(self.transformer(x)), *self.out_of)

    def resume(self, codes: Tensor, carried: Carried, pasts: list[Past | None], position: int) -> Tensor:
        """The next codes int [B, F, K] of streams, from frame `position` on -> latents [B, F, D]."""
        x = self.dequantize(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        x = F.linear(self.first(x, carried), *self.into)
        return F.linear(self.norm(self.transformer.resume(x, pasts, position)), *self.out_of)


def decoder(module: Any, device: torch.device, dtype: torch.dtype) -> Decoder:
    """From upstream's Qwen3TTSTokenizerV2Decoder."""
    first, *blocks, before, last = module.decoder
    transformer = module.pre_transformer
    convolutions = Convolutions(
        [_next(up, block, device, dtype) for up, block in module.upsample],
        conv(first.conv, device, dtype),
        [_block(block.block, device, dtype) for block in blocks],
        snake(before.alpha, before.beta, device, dtype),
        conv(last.conv, device, dtype),
    )
    return Decoder(
        dequantizer(module.quantizer, device, dtype),
        conv(module.pre_conv.conv, device, dtype),
        _linear(transformer.input_proj, device, dtype),
        decoder_transformer(transformer, device, dtype),
        rms_norm(transformer.norm, device, dtype),
        _linear(transformer.output_proj, device, dtype),
        convolutions,
    )


def _next(up: Any, block: Any, device: torch.device, dtype: torch.dtype) -> Next:
    return Next(
        up_conv(up.conv, device, dtype),
        conv(block.dwconv.conv, device, dtype),
        (*_linear(block.norm, device, dtype), block.norm.eps),
        _linear(block.pwconv1, device, dtype),
        _linear(block.pwconv2, device, dtype),
        own(block.gamma, device, dtype),
    )


def _block(modules: Any, device: torch.device, dtype: torch.dtype) -> Block:
    before, up, *units = modules
    return Block(
        snake(before.alpha, before.beta, device, dtype),
        up_conv(up.conv, device, dtype),
        [
            Unit(
                snake(unit.act1.alpha, unit.act1.beta, device, dtype),
                conv(unit.conv1.conv, device, dtype),
                snake(unit.act2.alpha, unit.act2.beta, device, dtype),
                conv(unit.conv2.conv, device, dtype),
            )
            for unit in units
        ],
    )


def _linear(module: Any, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer or a norm."""
    return own(module.weight, device, dtype), own(module.bias, device, dtype)


def decode_codes(decoder: Decoder, tiled: Tiled, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """codes int [F, K] each -> waves float32 [F * FRAME_SAMPLES] each."""
    frames = [len(one) for one in codes]
    if not any(frames):
        return [np.empty(0, np.float32)] * len(codes)
    found: dict[int, Tensor] = {}
    for part in tiled.alike(frames):
        padded = pad_sequence([torch.from_numpy(codes[index].astype(np.int64)) for index in part], batch_first=True)
        latents = decoder.latents(padded.to(tiled.way.device))
        found |= {index: one[: frames[index]] for index, one in zip(part, latents, strict=True)}
    rows = torch.cat([found[index] for index in sorted(found)]) if len(found) > 1 else found.popitem()[1]

    def load(spans: Sequence[Span]) -> Iterator[Tensor]:
        return (rows[low:high] for low, high in spans)

    flat = fetched(tiled.pieces(load, frames), sum(frames), tiled.way.device).reshape(-1)
    return np.split(flat, np.cumsum(frames)[:-1] * FRAME_SAMPLES)
