"""Audio -> 25 Hz features -> latents -> codes: the encoder's parts, as functions of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from actors.config import STEPS, EncoderConfig
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, frame_count
from actors.network.activations import elu
from actors.network.layers import Conv, Size, conv
from actors.network.quantizer import Quantizer, quantizer
from actors.network.transformer import Transformer, mimi_transformer
from actors.network.weights import Weights
from actors.tiling.run_tiles import Tiled, joined
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

    def codes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features of whole recordings [B, F, STEPS * D], padded with zeros -> codes int16 [B, F, K], and bool [B]:
        whether all was finite. Half precision may overflow, and NaN would give code 0."""
        batch, frames, _ = features.shape
        steps = self.transformer(features.unflatten(2, (STEPS, -1)).flatten(1, 2)).float()
        left = steps[:, :1].expand(-1, self.down.left, -1)
        codes, finite = [], torch.ones(batch, dtype=torch.bool, device=features.device)
        for start in range(0, frames, QUANTIZE_FRAMES):
            piece = steps[:, start * STEPS : (start + QUANTIZE_FRAMES) * STEPS]
            latents = self.down(piece, {self.down: left})
            left = piece[:, piece.shape[1] - self.down.left :]
            codes.append(self.quantizer.encode(latents.flatten(0, 1)).unflatten(0, (batch, -1)))
            finite &= latents.isfinite().flatten(1).all(1)
        return torch.cat(codes, 1), finite


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
    codes: list[np.ndarray | None] = [np.empty((0, NUM_CODEBOOKS), np.int16)] * len(waves)
    if not any(frames):
        return codes
    rows = tiled.pieces(audio_rows(waves, frames, tiled.way), frames)
    features = joined(rows, sum(frames)).split(frames)
    parts = tiled.alike(frames)
    found = [encoder.codes(pad_sequence([features[index] for index in part], batch_first=True)) for part in parts]
    for part, (of_part, finite) in zip(parts, found, strict=True):
        for index, one, good in zip(part, of_part.cpu().numpy(), finite.tolist(), strict=True):
            codes[index] = one[: frames[index]] if good else None
    return codes
