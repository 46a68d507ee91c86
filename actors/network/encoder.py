"""Audio -> 25 Hz features -> latents -> codes: the encoder's parts, as functions of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, frame_count
from actors.network.layers import Conv, conv, elu
from actors.network.quantizer import Quantizer, quantizer
from actors.network.transformer import Transformer, mimi_transformer
from actors.tiling.run_tiles import Tiled, joined
from actors.tiling.stack import Carried
from actors.tiling.tiles import Reach, left_reach, whole
from actors.tiling.transfer import audio_rows

STEPS = 2
"""Features of one frame: the transformer runs at 25 Hz."""
QUANTIZE_FRAMES = 2048
"""Frames that are quantized at once: bounds the matrix of distances."""


@dataclass(frozen=True)
class Stage:
    """A residual unit and the strided convolution after it."""

    inner: Conv
    outer: Conv
    down: Conv

    def __call__(self, x: Tensor, carried: Carried | None) -> Tensor:
        x = self.outer(self.inner(x, carried, elu), carried, elu).add_(x)
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
        stages = [layer for stage in self.stages for layer in (stage.inner, stage.outer, stage.down)]
        return [layer.reach for layer in (self.first, *stages, self.last)]

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
        """Features of whole recordings [B, F, STEPS * D], padded with zeros -> codes int16 [B, F, K]."""
        batch, frames, _ = features.shape
        steps = self.transformer(features.unflatten(2, (STEPS, -1)).flatten(1, 2)).float()
        left = steps[:, :1].expand(-1, self.down.left, -1)
        codes = []
        for start in range(0, frames, QUANTIZE_FRAMES):
            piece = steps[:, start * STEPS : (start + QUANTIZE_FRAMES) * STEPS]
            latents = self.down(piece, {self.down: left})
            left = piece[:, piece.shape[1] - self.down.left :]
            codes.append(self.quantizer.encode(latents.flatten(0, 1)).unflatten(0, (batch, -1)))
        return torch.cat(codes, 1)


def encoder(module: Any, window: int | None, device: torch.device, dtype: torch.dtype) -> Encoder:
    """From upstream's encoder, a transformers MimiModel; the quantizer and the last convolution stay in fp32."""
    stages = []
    first, *body, _, last = module.encoder.layers
    for unit, _, down in zip(body[0::3], body[1::3], body[2::3], strict=True):
        stages.append(Stage(*[conv(layer.conv, device, dtype) for layer in (unit.block[1], unit.block[3], down)]))
    return Encoder(
        Convolutions(conv(first.conv, device, dtype), stages, conv(last.conv, device, dtype)),
        mimi_transformer(module.encoder_transformer, window, device, dtype),
        conv(module.downsample.conv, device, torch.float32),
        quantizer(module.quantizer, NUM_CODEBOOKS, device),
    )


def encode_waves(encoder: Encoder, tiled: Tiled, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """waves float32 [T] each -> codes int16 [F, K] each."""
    frames = [frame_count(len(wave)) for wave in waves]
    codes = [np.empty((0, NUM_CODEBOOKS), np.int16)] * len(waves)
    if not any(frames):
        return codes
    rows = tiled.pieces(audio_rows(waves, frames, tiled.way), frames)
    features = joined(rows, sum(frames)).split(frames)
    parts = tiled.alike(frames)
    found = [encoder.codes(pad_sequence([features[index] for index in part], batch_first=True)) for part in parts]
    for part, rows_of_part in zip(parts, found, strict=True):
        for index, one in zip(part, rows_of_part.cpu().numpy(), strict=True):
            codes[index] = one[: frames[index]]
    return codes
