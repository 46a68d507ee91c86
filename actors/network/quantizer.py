"""Latents [N, D] -> codes [N, K], and codes -> latents; codebooks and distances always in fp32."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actors.device import tf32

EPSILON = 1e-5
"""Floor of a codebook entry's usage count: `epsilon` of upstream's codebooks."""


def codebook(total: Tensor, usage: Tensor) -> Tensor:
    """Entries [size, D] fp32 from the running sum [size, D] and count [size] of what was assigned to each."""
    return total.detach().float() / usage.detach().float().clamp(min=EPSILON)[:, None]


@dataclass(frozen=True)
class Residual:
    """One chain of codebooks: each quantizes the residual of the ones before it."""

    project: Tensor | None  # [codebook dimension, latent dimension]
    entries: list[Tensor]  # each [size, codebook dimension]
    squares: list[Tensor]  # each [size], |entry|^2

    def nearest(self, latents: Tensor) -> list[Tensor]:
        """latents fp32 [N, D] -> for each codebook the index int64 [N] of its nearest entry (the first of equals)."""
        rest = latents if self.project is None else F.linear(latents, self.project)
        codes = []
        for entries, squares in zip(self.entries, self.squares, strict=True):
            index = torch.addmm(squares, rest, entries.T, alpha=-2).argmin(1)  # |x|^2 is constant within a row
            rest = rest - entries[index]
            codes.append(index)
        return codes


@dataclass(frozen=True)
class Quantizer:
    """The semantic codebook and the chain of acoustic ones, both over the same latents."""

    chains: Sequence[Residual]

    def encode(self, latents: Tensor) -> Tensor:
        """latents [N, D] -> codes int16 [N, K]."""
        with tf32(False):
            codes = [index for chain in self.chains for index in chain.nearest(latents.float())]
        return torch.stack(codes, 1).to(torch.int16)


def quantizer(module: Any, count: int, device: torch.device) -> Quantizer:
    """The first `count` codebooks of transformers' MimiSplitResidualVectorQuantizer."""
    semantic, acoustic = module.semantic_residual_vector_quantizer, module.acoustic_residual_vector_quantizer
    first = len(semantic.layers)
    return Quantizer([_chain(semantic, first, device), _chain(acoustic, count - first, device)])


def _chain(module: Any, count: int, device: torch.device) -> Residual:
    entries = [codebook(layer.codebook.embed_sum, layer.codebook.cluster_usage) for layer in module.layers[:count]]
    entries = [entry.to(device) for entry in entries]
    project = None
    if module.input_proj is not None:
        project = module.input_proj.weight.detach()[..., 0].to(device, torch.float32, copy=True)
    return Residual(project, entries, [entry.square().sum(1) for entry in entries])


@dataclass(frozen=True)
class Dequantizer:
    """All codebooks of both chains, already projected to latents, as one table.

    `tables` [K * size, D]; a latent is the sum of its K codes' rows.
    """

    tables: Tensor
    size: int

    def __call__(self, codes: Tensor) -> Tensor:
        """codes int [N, K] in 0..size - 1 -> latents [N, D]."""
        first = torch.arange(codes.shape[1], device=codes.device) * self.size
        return F.embedding_bag(codes.long() + first, self.tables, mode="sum")


def dequantizer(module: Any, device: torch.device, dtype: torch.dtype) -> Dequantizer:
    """From upstream's SplitResidualVectorQuantizer of the decoder."""
    tables = []
    for chain in (module.rvq_first, module.rvq_rest):
        project = chain.output_proj.weight.detach()[..., 0].float()
        for layer in chain.vq.layers:
            assert isinstance(layer.project_out, nn.Identity), "a projection inside a codebook"
            tables.append(codebook(layer._codebook.embedding_sum, layer._codebook.cluster_usage) @ project.T)
    return Dequantizer(torch.cat(tables).to(device, dtype), len(tables[0]))
