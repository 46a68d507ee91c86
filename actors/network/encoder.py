"""Audio -> 25 Hz features -> latents -> codes: the encoder's parts, as functions of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actors.config import STEPS, EncoderConfig
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, frame_count
from actors.network.activations import elu
from actors.network.layers import Conv, Size, conv
from actors.network.pack import BLOCK_FRAMES, Pack, in_blocks, pack
from actors.network.quantizer import Quantizer, quantizer
from actors.network.transformer import Transformer, mimi_transformer
from actors.network.weights import Weights
from actors.tiling.run_tiles import Load, Tiled, joined
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach, left_reach, whole
from actors.tiling.transfer import audio_rows

QUANTIZE_FRAMES = 2048
"""Frames that are quantized at once: bounds the matrix of distances."""


@dataclass(frozen=True)
class Stage:
    """Residual units and the strided convolution after them."""

    units: list[tuple[Conv, Conv]]
    down: Conv

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        for inner, outer in self.units:
            x = outer(inner(x, carried, elu), carried, elu).add_(x)
        return self.down(x, carried, elu)


@dataclass(frozen=True)
class Convolutions:
    """The SEANet encoder, the expensive half of encoding."""

    first: Conv
    stages: list[Stage]
    last: Conv

    @property
    def reaches(self) -> list[Reach]:
        """The reach of each layer, in order."""
        layers = [self.first]
        for stage in self.stages:
            layers += [*[layer for unit in stage.units for layer in unit], stage.down]
        return [layer.reach for layer in (*layers, self.last)]

    def __call__(self, audio: Tensor, carried: Carried | None = None) -> Tensor:
        """audio [B, F, FRAME_SAMPLES] -> features [B, F, STEPS * D]."""
        x = self.first(audio.flatten(1).unsqueeze(2), carried)
        for stage in self.stages:
            x = stage(x, carried)
        return self.last(x, carried, elu).unflatten(1, (-1, STEPS)).flatten(2)


@dataclass(frozen=True)
class Encoder:
    """The encoder's weights on one device. `down` halves the rate, in fp32; its left padding repeats the first step."""

    convolutions: Convolutions
    transformer: Transformer
    down: Conv
    quantizer: Quantizer

    @property
    def row(self) -> int:
        """Samples of one frame, the input of the convolutions."""
        return FRAME_SAMPLES

    @property
    def halo(self) -> int:
        """Frames of left context with which a tile of the convolutions is exact."""
        return whole(left_reach(self.convolutions.reaches), FRAME_SAMPLES)

    def codes(self, features: Tensor) -> Tensor:
        """Features of whole recordings [B, F, STEPS * D] -> codes int16 [B, F, K]; -1 where they were not finite."""
        batch, frames, _ = features.shape
        steps = self.transformer(features.unflatten(2, (STEPS, -1)).flatten(1, 2)).float()
        left = steps[:, :1].expand(-1, self.down.left, -1)
        codes = []
        for start in range(0, frames, QUANTIZE_FRAMES):
            piece = steps[:, start * STEPS : (start + QUANTIZE_FRAMES) * STEPS]
            latents = self.down(piece, {self.down: left})
            left = piece[:, piece.shape[1] - self.down.left :]
            codes.append(self._quantized(latents.flatten(0, 1)).unflatten(0, (batch, -1)))
        return torch.cat(codes, 1)

    def packed(self, features: Tensor, where: Pack) -> Tensor:
        """The same of all recordings of a pack: [rows, STEPS * D] -> codes int16 [rows, K]."""
        steps = features.unflatten(1, (STEPS, -1)).flatten(0, 1)
        steps = self.transformer.packed(steps, where.attention, where.block * STEPS).float()
        seen = self.down.seen(where.first, None)
        return in_blocks(lambda rows: self._quantized(self.down.packed(steps, rows)), where.block, seen)

    def _quantized(self, latents: Tensor) -> Tensor:
        """Half precision may overflow, and NaN would give code 0: -1 tells it without another copy to the host."""
        codes = self.quantizer.encode(latents)
        return codes.masked_fill_(~latents.isfinite().all(1, keepdim=True), -1)


def encoder(weights: Weights, config: EncoderConfig, window: int | None) -> Encoder:
    """From the tensors of upstream's encoder, a MimiModel of transformers.

    The quantizer and the last convolution stay in fp32.
    """
    down = Size(config.hidden_size, config.hidden_size, 2 * STEPS, STEPS)
    return Encoder(
        _convolutions(weights.at("encoder.layers"), config),
        mimi_transformer(weights.at("encoder_transformer"), config, window),
        conv(weights.in_fp32().at("downsample.conv"), down, bias=False),
        quantizer(weights.at("quantizer"), config, NUM_CODEBOOKS),
    )


def _convolutions(weights: Weights, config: EncoderConfig) -> Convolutions:
    """Upstream numbers all layers in one list, an activation before each strided and before the last convolution."""
    number, width, stages = 1, config.num_filters, []
    for ratio in reversed(config.upsampling_ratios):
        dilations = [config.dilation_growth_rate**index for index in range(config.num_residual_layers)]
        units = [_unit(weights.at(number + i).at("block"), config, width, step) for i, step in enumerate(dilations)]
        number += len(units) + 1
        down = conv(weights.at(number).at("conv"), Size(width, 2 * width, 2 * ratio, ratio))
        stages.append(Stage(units, down))
        number, width = number + 1, 2 * width
    return Convolutions(
        conv(weights.at(0).at("conv"), Size(1, config.num_filters, config.kernel_size)),
        stages,
        conv(weights.at(number + 1).at("conv"), Size(width, config.hidden_size, config.last_kernel_size)),
    )


def _unit(weights: Weights, config: EncoderConfig, width: int, dilation: int) -> tuple[Conv, Conv]:
    narrow = width // config.compress
    inner = Size(width, narrow, config.residual_kernel_size, dilation=dilation)
    return conv(weights.at("1.conv"), inner), conv(weights.at("3.conv"), Size(narrow, width, 1))


def encode_waves(encoder: Encoder, tiled: Tiled, waves: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """waves float32 [T] each -> codes int16 [F, K] each; None where the precision overflowed."""
    frames = [frame_count(len(wave)) for wave in waves]
    if not any(frames):
        return [np.empty((0, NUM_CODEBOOKS), np.int16)] * len(waves)
    found = encode_rows(encoder, tiled, audio_rows(waves, frames, tiled.way), frames).cpu().numpy()
    parts = np.split(found, np.cumsum(frames))[:-1]
    return [part if (part >= 0).all() else None for part in parts]


def encode_rows(encoder: Encoder, tiled: Tiled, load: Load, frames: Sequence[int]) -> Tensor:
    """Frames of recordings, laid end to end -> their codes int16 [rows, K] on the device; -1 after an overflow."""
    pieces, total = tiled.pieces(load, frames), sum(frames)
    if tiled.way.batch is None:
        features = joined(pieces, total).split([one for one in frames if one])
        return torch.cat([encoder.codes(one[None])[0] for one in features])
    where = pack(frames, STEPS, encoder.transformer.window, BLOCK_FRAMES[tiled.way.device.type], tiled.way.device)
    return encoder.packed(joined(pieces, where.frames), where)[:total]
