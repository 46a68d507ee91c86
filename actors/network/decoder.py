"""Codes -> latents -> audio: the decoder, as functions of tensors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actors.config import DecoderConfig
from actors.contract import FRAME_SAMPLES
from actors.device import uploaded
from actors.network.attention import Past
from actors.network.layers import Conv, Size, conv, gathered
from actors.network.pack import BLOCK_FRAMES, Pack, pack
from actors.network.quantizer import Dequantizer, dequantizer
from actors.network.rows import Rows, linear, rms_norm
from actors.network.transformer import Transformer, decoder_transformer
from actors.network.upsampling import Convolutions, convolutions
from actors.network.weights import Weights
from actors.tiling.cuda_graphs import Run
from actors.tiling.run_tiles import Span, Tiled, whole_recordings
from actors.tiling.stack import Carried
from actors.tiling.tiles import in_order, left_reach
from actors.tiling.transfer import Finite, fetched


@dataclass(frozen=True)
class Decoder:
    """The decoder's weights on one device."""

    dequantize: Dequantizer
    first: Conv
    into: Rows
    transformer: Transformer
    norm: Rows
    out_of: Rows
    row: int  # width of one frame of latents, the input of the convolutions
    convolutions: Convolutions

    @property
    def halo(self) -> int:
        """Frames of left context with which a tile of the convolutions is exact."""
        return left_reach(self.convolutions.reaches)

    def latents(self, codes: Tensor) -> Tensor:
        """Codes of whole recordings int [B, F, K] -> latents [B, F, D]."""
        x = self.dequantize(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        return self._last(self.transformer(self.into(self.first(x))))

    def packed(self, codes: Tensor, where: Pack, run: Run) -> Tensor:
        """The same of all recordings of a pack, whose blocks are `run`: codes [rows, K], any in the padding -> latents
        [rows, D]."""
        (x,) = run(self._dequantized, where.block, codes)
        x[where.blank] = 0  # what the convolution sees before a recording
        (x,) = run(self._into, where.block, gathered(x, self.first.seen(where.first, where.blank)))
        x = self.transformer.packed(x, where.attention, where.block, run)
        (x,) = run(self._out_of, where.block, x)
        return x.clone()  # the convolutions run next

    def resume(self, codes: Tensor, carried: Carried, pasts: list[Past | None], position: int) -> Tensor:
        """The next codes int [B, F, K] of streams, from frame `position` on -> latents [B, F, D]."""
        x = self.dequantize(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        return self._last(self.transformer.resume(self.into(self.first(x, carried)), pasts, position))

    def _last(self, x: Tensor) -> Tensor:
        return self.out_of(self.norm(x))

    def _dequantized(self, codes: Tensor) -> tuple[Tensor]:
        return (self.dequantize(codes),)

    def _into(self, seen: Tensor) -> tuple[Tensor]:
        return (self.into(self.first.function(seen)),)

    def _out_of(self, x: Tensor) -> tuple[Tensor]:
        return (self._last(x),)


def decoder(weights: Weights, config: DecoderConfig) -> Decoder:
    """From the tensors of upstream's Qwen3TTSTokenizerV2Decoder."""
    transformer, size = weights.at("pre_transformer"), config.hidden_size
    return Decoder(
        dequantizer(weights.at("quantizer"), config),
        conv(weights.at("pre_conv.conv"), Size(config.codebook_dim, config.latent_dim, 3), as_product=True),
        linear(transformer.at("input_proj"), config.latent_dim, size),
        decoder_transformer(transformer, config),
        rms_norm(transformer.at("norm"), size, config.rms_norm_eps),
        linear(transformer.at("output_proj"), size, config.latent_dim),
        config.latent_dim,
        convolutions(weights, config),
    )


PCM16 = 32767.0
"""The scale of libsndfile without clipping, see `actors.pools.arrow.to_pcm16`."""
NO_SAMPLE = -32768
"""Stands for NaN in int16: no rounded sample has it."""


def rounded(audio: Tensor) -> Tensor:
    """float32 in [-1, 1] -> int16 bit by bit as `actors.pools.arrow.to_pcm16`, before half the bytes go to the host."""
    return audio.mul(PCM16).round_().nan_to_num_(NO_SAMPLE).to(torch.int16)


def decode_codes(
    decoder: Decoder, tiled: Tiled, codes: Sequence[np.ndarray], pcm16: bool = False
) -> list[np.ndarray | None]:
    """codes int [F, K] each -> waves float32 or, `pcm16`, int16 [F * FRAME_SAMPLES] each; None where the precision
    overflowed."""
    order = tiled.order([len(one) for one in codes])
    frames = [len(codes[number]) for number in order]
    if not any(frames):
        return [np.empty(0, np.int16 if pcm16 else np.float32)] * len(codes)
    rows = latent_rows(decoder, tiled, np.concatenate([codes[number] for number in order]), frames)
    finite = Finite()

    def load(spans: Sequence[Span]) -> Iterator[Tensor]:
        return (rows[low:high] for low, high in spans)

    def checked(pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        for piece in pieces:
            finite.look(piece)
            yield rounded(piece) if pcm16 else piece

    flat = fetched(checked(tiled.pieces(load, frames)), sum(frames), tiled.way.device).reshape(-1)
    waves = in_order(np.split(flat, np.cumsum(frames)[:-1] * FRAME_SAMPLES), order)
    if finite:
        return list(waves)
    return [wave if (np.isfinite(wave) & (wave != NO_SAMPLE)).all() else None for wave in waves]


def latent_rows(decoder: Decoder, tiled: Tiled, codes: np.ndarray, frames: Sequence[int]) -> Tensor:
    """codes int [rows, K] of recordings, laid end to end -> latents [at least as many rows, D] on the device."""
    way = tiled.way
    if way.batch is None:
        return whole_recordings(
            decoder.latents, torch.from_numpy(codes.astype(np.int64)).to(way.device), frames, way.tile
        )
    where = pack(frames, 1, decoder.transformer.window, BLOCK_FRAMES[way.device.type], way.device)
    given = np.zeros((where.frames, codes.shape[1]), np.int64)
    given[: len(codes)] = codes
    (placed,) = uploaded([given], way.device)
    return decoder.packed(placed, where, tiled.run)
