"""Audio -> 25 Hz features -> latents -> codes: the encoder's parts, as functions of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actors.config import STEPS, EncoderConfig
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, frame_count
from actors.network.downsampling import Convolutions, convolutions
from actors.network.layers import Conv, Size, conv, gathered
from actors.network.pack import BLOCK_FRAMES, Pack, frames_of_pack, pack
from actors.network.quantizer import Quantizer, quantizer
from actors.network.transformer import Transformer, mimi_transformer
from actors.network.weights import Weights
from actors.tiling.cuda_graphs import Run
from actors.tiling.run_tiles import Load, Tiled, joined, whole_recordings
from actors.tiling.tiles import in_order, left_reach, whole
from actors.tiling.transfer import WaveRows

QUANTIZE_FRAMES = 2048
"""Frames that are quantized at once: bounds the matrix of distances."""


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
            codes.append(self.quantized(latents.flatten(0, 1)).unflatten(0, (batch, -1)))
        return torch.cat(codes, 1)

    def packed(self, features: Tensor, where: Pack, run: Run) -> Tensor:
        """The same of all recordings of a pack, whose blocks are `run`: [rows, STEPS * D] -> codes int16 [rows, K]."""
        steps = features.unflatten(1, (STEPS, -1)).flatten(0, 1)
        steps = self.transformer.packed(steps, where.attention, where.block * STEPS, run)
        (codes,) = run(self._last, where.block, gathered(steps, self.down.seen(where.first, None)))
        return codes

    def _last(self, seen: Tensor) -> tuple[Tensor]:
        return (self.quantized(self.down.function(seen.float())),)

    def quantized(self, latents: Tensor) -> Tensor:
        """Half precision may overflow, and NaN would give code 0: -1 tells it without another copy to the host."""
        codes = self.quantizer.encode(latents)
        return codes.masked_fill_(~latents.isfinite().all(1, keepdim=True), -1)


def encoder(weights: Weights, config: EncoderConfig, window: int | None) -> Encoder:
    """From the tensors of upstream's encoder, a MimiModel of transformers.

    The quantizer and the last convolution stay in fp32.
    """
    down = Size(config.hidden_size, config.hidden_size, 2 * STEPS, STEPS)
    return Encoder(
        convolutions(weights.at("encoder.layers"), config),
        mimi_transformer(weights.at("encoder_transformer"), config, window),
        conv(weights.in_fp32().at("downsample.conv"), down, bias=False, as_product=True),
        quantizer(weights.at("quantizer"), config, NUM_CODEBOOKS),
    )


def encode_waves(encoder: Encoder, tiled: Tiled, waves: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """waves float32 [T] each -> codes int16 [F, K] each; None where the precision overflowed. Raises NonFiniteAudio."""
    order = tiled.order([frame_count(len(wave)) for wave in waves])
    frames = [frame_count(len(waves[number])) for number in order]
    if not any(frames):
        return [np.empty((0, NUM_CODEBOOKS), np.int16)] * len(waves)
    rows = WaveRows(waves, order, tiled.way)
    found = encode_rows(encoder, tiled, rows, frames).cpu().numpy()
    rows.refuse_non_finite()
    parts = in_order(np.split(found, np.cumsum(frames))[:-1], order)
    return [part if (part >= 0).all() else None for part in parts]


def encode_rows(encoder: Encoder, tiled: Tiled, load: Load, frames: Sequence[int]) -> Tensor:
    """Frames of recordings, laid end to end -> their codes int16 [rows, K] on the device; -1 after an overflow. The
    next call may overwrite them."""
    pieces, total = tiled.pieces(load, frames), sum(frames)
    if tiled.way.batch is None:
        return whole_recordings(encoder.codes, joined(pieces, total), frames, tiled.way.tile)
    block = BLOCK_FRAMES[tiled.way.device.type]
    features = joined(pieces, frames_of_pack(frames, block))  # the rest is laid out while a GPU computes these
    where = pack(frames, STEPS, encoder.transformer.window, block, tiled.way.device)
    return encoder.packed(features, where, tiled.run)[:total]
