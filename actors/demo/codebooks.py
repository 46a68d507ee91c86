"""Latents -> codebooks by k-means; latents -> nearest entries. Entries are `embed_sum` (`cluster_usage` is 1)."""

from typing import Any

import torch

QUIETEST = 1e-3
"""Mean square of a row, below which a row counts no more."""
ROUND_ROWS = 100_000
"""Rows that a round of k-means sees, drawn anew each time; the last LAST_ROUNDS see all."""
ROUNDS, LAST_ROUNDS = 10, 2


def _entries(layer: Any) -> torch.Tensor:
    return layer.codebook.embed_sum / layer.codebook.cluster_usage[:, None]


def _nearest(vectors: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
    """Rows [N, D], entries [K, D] -> [N]. Part by part: the distances of all rows would not fit the memory."""
    sizes = entries.square().sum(1)
    return torch.cat([(sizes - 2 * part @ entries.T).argmin(1) for part in vectors.split(16_384)])


@torch.no_grad()
def fit_codebooks(rows: torch.Tensor, count: int, size: int, relative: bool) -> list[torch.Tensor]:
    """Rows [N, D] -> `count` codebooks [size, D], each fitted by k-means to what the ones before it leave.

    `relative`: noise counts relative to a row's own size. One entry of each codebook is zero, so that none adds noise
    to what the ones before it have said well.
    """
    residual = rows.clone()
    weight = 1 / (rows.square().mean(1) + QUIETEST) if relative else torch.ones_like(rows[:, 0])
    codebooks = []
    for _ in range(count):
        entries = _k_means(residual, weight, size)
        residual -= entries[_nearest(residual, entries)]
        codebooks.append(entries)
    return codebooks


def _k_means(vectors: torch.Tensor, weight: torch.Tensor, size: int) -> torch.Tensor:
    """Vectors [N, D] that count by weight [N] -> entries [size, D], the first of them zero.

    First entries are drawn by weight and size: the loud ones are few and differ much.
    """
    drawn = torch.multinomial(weight * vectors.square().mean(1) + 1e-9, size, replacement=len(vectors) < size)
    entries = vectors[drawn] + 1e-3 * vectors.std() * torch.randn_like(vectors[drawn])  # apart, where drawn twice
    for left in reversed(range(ROUNDS)):
        entries[0] = 0
        seen, counts = vectors, weight
        if left >= LAST_ROUNDS and len(vectors) > ROUND_ROWS:
            some = torch.randint(len(vectors), (ROUND_ROWS,), device=vectors.device)
            seen, counts = vectors[some], weight[some]
        codes = _nearest(seen, entries)
        shares = torch.zeros(size).to(seen).index_add_(0, codes, counts)
        sums = torch.zeros_like(entries).index_add_(0, codes, seen * counts[:, None])
        entries = torch.where(shares[:, None] > 0, sums / shares.clamp(min=1e-9)[:, None], entries)
    entries[0] = 0
    return entries


@torch.no_grad()
def set_codebook(layer: Any, place: slice, entries: torch.Tensor) -> None:
    """Entries [K, D] -> the codebook of one quantizer's layer, zero outside `place` of its dimensions."""
    layer.codebook.cluster_usage.fill_(1)
    layer.codebook.embed_sum.zero_()
    layer.codebook.embed_sum[:, place] = entries


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
