"""Latents -> codebooks by k-means; latents -> nearest entries. Entries are `embed_sum` (`cluster_usage` is 1)."""

from collections.abc import Sequence
from typing import Any

import torch

Part = tuple[slice, bool]
"""Dimensions of a latent, and whether their noise counts relative to a frame's own size."""
QUIETEST = 1e-3
"""Mean square of a relative part, below which a frame counts no more."""


def _entries(layer: Any) -> torch.Tensor:
    return layer.codebook.embed_sum / layer.codebook.cluster_usage[:, None]


def _nearest(vectors: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    return (entries.square().sum(1) - 2 * vectors @ entries.T).argmin(1)


@torch.no_grad()
def start_codebooks(quantizer: Any, latents: torch.Tensor, parts: Sequence[Part], rounds: int = 10) -> None:
    """Fill the codebooks of one branch (`MimiResidualVectorQuantizer`) by k-means on its latents float32 [N, D].

    Layer i quantizes parts[i] alone; layers after the last part quantize all. One entry of each is zero, so
    that no layer adds noise to what the ones before it have said well.
    """
    residual = latents.clone()
    for index, layer in enumerate(quantizer.layers):
        part, relative = parts[index] if index < len(parts) else (slice(None), False)
        size = latents[:, part].square().mean(1) if relative else torch.ones_like(latents[:, 0])
        weight = 1 / (size + QUIETEST)
        entries = _k_means(residual[:, part], weight, layer.codebook.codebook_size, rounds)
        layer.codebook.cluster_usage.fill_(1)
        layer.codebook.embed_sum.zero_()
        layer.codebook.embed_sum[:, part] = entries
        residual[:, part] -= entries[_nearest(residual[:, part], entries)]


def _k_means(vectors: torch.Tensor, weight: torch.Tensor, size: int, rounds: int) -> torch.Tensor:
    """Vectors [N, D] that count by weight [N] -> entries [size, D], the first of them zero.

    First entries are drawn by weight and size: the loud ones are few and differ much.
    """
    drawn = torch.multinomial(weight * vectors.square().mean(1) + 1e-9, size, replacement=len(vectors) < size)
    entries = vectors[drawn] + 1e-3 * vectors.std() * torch.randn_like(vectors[drawn])  # apart, where drawn twice
    for _ in range(rounds):
        entries[0] = 0
        codes = _nearest(vectors, entries)
        shares = torch.zeros(size).to(vectors).index_add_(0, codes, weight)
        sums = torch.zeros_like(entries).index_add_(0, codes, vectors * weight[:, None])
        entries = torch.where(shares[:, None] > 0, sums / shares.clamp(min=1e-9)[:, None], entries)
    entries[0] = 0
    return entries


@torch.no_grad()
def quantize(quantizer: Any, latents: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """latents [B, D, F] -> sum of the first used[b] layers' entries [B, D, F]."""
    residual = latents.transpose(1, 2).flatten(0, 1)
    total = torch.zeros_like(residual)
    frames = latents.shape[-1]
    for index, layer in enumerate(quantizer.layers):
        entries = _entries(layer)
        chosen = entries[_nearest(residual, entries)]
        total += chosen * (used > index).repeat_interleave(frames)[:, None]
        residual = residual - chosen
    return total.reshape(len(latents), frames, -1).transpose(1, 2)
