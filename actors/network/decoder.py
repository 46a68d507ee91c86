"""Codes -> latents -> audio: the decoder, as functions of tensors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from actors.config import DecoderConfig
from actors.contract import FRAME_SAMPLES
from actors.network.attention import Past
from actors.network.layers import Conv, Size, conv, linear
from actors.network.quantizer import Dequantizer, dequantizer
from actors.network.transformer import Norm, Transformer, decoder_transformer, rms_norm
from actors.network.upsampling import Convolutions, convolutions
from actors.network.weights import Weights
from actors.tiling.run_tiles import Span, Tiled
from actors.tiling.stack import Carried
from actors.tiling.tiles import left_reach
from actors.tiling.transfer import fetched


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


def decoder(weights: Weights, config: DecoderConfig) -> Decoder:
    """From the tensors of upstream's Qwen3TTSTokenizerV2Decoder."""
    transformer, size = weights.at("pre_transformer"), config.hidden_size
    return Decoder(
        dequantizer(weights.at("quantizer"), config),
        conv(weights.at("pre_conv.conv"), Size(config.codebook_dim, config.latent_dim, 3)),
        linear(transformer.at("input_proj"), config.latent_dim, size),
        decoder_transformer(transformer, config),
        rms_norm(transformer.at("norm"), size, config.rms_norm_eps),
        linear(transformer.at("output_proj"), size, config.latent_dim),
        convolutions(weights, config),
    )


def decode_codes(decoder: Decoder, tiled: Tiled, codes: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """codes int [F, K] each -> waves float32 [F * FRAME_SAMPLES] each; None where the precision overflowed."""
    frames = [len(one) for one in codes]
    if not any(frames):
        return [np.empty(0, np.float32)] * len(codes)
    found: dict[int, Tensor] = {}
    for part in tiled.alike(frames):
        padded = pad_sequence([torch.from_numpy(codes[index].astype(np.int64)) for index in part], batch_first=True)
        latents = decoder.latents(padded.to(tiled.way.device))
        found |= {index: one[: frames[index]] for index, one in zip(part, latents, strict=True)}
    rows = torch.cat([found[index] for index in sorted(found)]) if len(found) > 1 else found.popitem()[1]
    finite = torch.ones((), dtype=torch.bool, device=tiled.way.device)

    def load(spans: Sequence[Span]) -> Iterator[Tensor]:
        return (rows[low:high] for low, high in spans)

    def checked(pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        for piece in pieces:
            finite.logical_and_(piece.isfinite().all())
            yield piece

    flat = fetched(checked(tiled.pieces(load, frames)), sum(frames), tiled.way.device).reshape(-1)
    waves = np.split(flat, np.cumsum(frames)[:-1] * FRAME_SAMPLES)
    return list(waves) if finite.item() else [wave if np.isfinite(wave).all() else None for wave in waves]
