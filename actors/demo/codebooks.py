"""Latents -> nearest entries, while the entries follow the latents: the quantizer of train_demo.

Entries are running means of what they quantize, kept in the encoder's own buffers (`embed_sum`, `cluster_usage`).
"""

from typing import Any

import torch

DECAY = 0.995
"""Of the running means, a step; a batch has far fewer vectors than a codebook entries."""
DEAD = 0.1
"""An entry that quantizes fewer vectors a step than this share of an even spread starts anew."""


def _entries(layer: Any) -> torch.Tensor:
    return layer.codebook.embed_sum / layer.codebook.cluster_usage[:, None]


def _nearest(vectors: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    return (entries.square().sum(1) - 2 * vectors @ entries.T).argmin(1)


def _gather(vectors: torch.Tensor, codes: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many vectors each of `size` codes has, and their sum [size, D]."""
    counts = torch.bincount(codes, minlength=size).to(vectors)
    return counts, torch.zeros(size, vectors.shape[1]).to(vectors).index_add_(0, codes, vectors)


@torch.no_grad()
def start_codebooks(quantizer: Any, latents: torch.Tensor, rounds: int = 10) -> None:
    """Fill the codebooks of one branch (`MimiResidualVectorQuantizer`) by k-means on its latents float32 [N, D]."""
    residual = latents
    for layer in quantizer.layers:
        size = layer.codebook.codebook_size
        drawn = residual[torch.randint(len(residual), (size,), device=residual.device)]
        entries = drawn + 1e-3 * residual.std() * torch.randn_like(drawn)  # apart, where one was drawn twice
        for _ in range(rounds):
            counts, sums = _gather(residual, _nearest(residual, entries), size)
            entries = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], entries)
        usage = counts.clamp(min=0.5) / counts.mean()
        layer.codebook.cluster_usage.copy_(usage)
        layer.codebook.embed_sum.copy_(entries * usage[:, None])
        residual = residual - entries[_nearest(residual, entries)]


def quantize(quantizer: Any, latents: torch.Tensor, used: torch.Tensor, learn: bool) -> torch.Tensor:
    """latents [B, D, F] -> sum of the first used[b] layers' entries [B, D, F], with the gradient of `latents`.

    `learn` moves the entries of every layer (also of those that the decoder never hears) towards this batch.
    """
    vectors = latents.detach().transpose(1, 2).flatten(0, 1)
    total, residual = torch.zeros_like(vectors), vectors
    frames = latents.shape[-1]
    for index, layer in enumerate(quantizer.layers):
        entries = _entries(layer)
        codes = _nearest(residual, entries)
        chosen = entries[codes]
        total = total + chosen * (used > index).repeat_interleave(frames)[:, None]
        if learn:
            _follow(layer.codebook, residual, codes)
        residual = residual - chosen
    quantized = total.reshape(len(latents), frames, -1).transpose(1, 2)
    return latents + (quantized - latents).detach()


def _follow(codebook: Any, vectors: torch.Tensor, codes: torch.Tensor) -> None:
    """One step of the running means; usage is in units of an even spread (1 = as often as the others)."""
    size = codebook.codebook_size
    counts, sums = _gather(vectors, codes, size)
    even = len(vectors) / size
    codebook.cluster_usage.lerp_(counts / even, 1 - DECAY)
    codebook.embed_sum.lerp_(sums / even, 1 - DECAY)
    dead = codebook.cluster_usage < DEAD
    if dead.any():
        fresh = vectors[torch.randint(len(vectors), (int(dead.sum()),), device=vectors.device)]
        codebook.embed_sum[dead] = fresh
        codebook.cluster_usage[dead] = 1.0
    codebook._embed = None  # the module caches embed_sum / cluster_usage
