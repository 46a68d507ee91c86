"""Latents [N, D] -> codes [N, K], and codes -> latents; codebooks and distances always in fp32."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.config import DecoderConfig, EncoderConfig
from actors.device import exact
from actors.network.rows import Rows, product
from actors.network.weights import Weights

EPSILON = 1e-5
"""Floor of a codebook entry's usage count: `epsilon` of upstream's codebooks."""


def codebook(total: Tensor, usage: Tensor) -> Tensor:
    """Entries [size, D] fp32 from the running sum [size, D] and count [size] of what was assigned to each."""
    return total.float() / usage.float().clamp(min=EPSILON)[:, None]


@dataclass(frozen=True)
class Residual:
    """One chain of codebooks: each quantizes the residual of the ones before it."""

    project: Rows | None  # latents to the codebooks' dimension
    entries: list[Tensor]  # each [size, codebook dimension]
    distances: list[Rows]  # each to [size]: |entry|^2 - 2 x entry; |x|^2 is constant within a row

    def nearest(self, latents: Tensor) -> list[Tensor]:
        """latents fp32 [N, D] -> for each codebook the index int64 [N] of its nearest entry (the first of equals)."""
        rest = latents if self.project is None else self.project(latents)
        codes: list[Tensor] = []
        for number, distances in enumerate(self.distances):
            if codes:
                rest = rest - self.entries[number - 1][codes[-1]]
            codes.append(distances(rest).argmin(1))
        return codes


@dataclass(frozen=True)
class Quantizer:
    """The semantic codebook and the chain of acoustic ones, both over the same latents."""

    chains: Sequence[Residual]

    def encode(self, latents: Tensor) -> Tensor:
        """latents [N, D] -> codes int16 [N, K]."""
        flags = exact() if latents.is_cuda else nullcontext()  # of the process: a CPU's calls do not touch them
        with flags:
            codes = [index for chain in self.chains for index in chain.nearest(latents.float())]
        return torch.stack(codes, 1).to(torch.int16)


def quantizer(weights: Weights, config: EncoderConfig, count: int) -> Quantizer:
    """The first `count` codebooks of transformers' MimiSplitResidualVectorQuantizer, in fp32."""
    semantic = config.num_semantic_quantizers
    chains = (("semantic", semantic), ("acoustic", count - semantic))
    return Quantizer([_chain(weights.at(f"{name}_residual_vector_quantizer"), config, many) for name, many in chains])


def _chain(weights: Weights, config: EncoderConfig, count: int) -> Residual:
    size, width = config.codebook_size, config.codebook_dim
    entries = []
    for below in (weights.at("layers").at(index).at("codebook") for index in range(count)):
        entry = codebook(below.read("embed_sum", size, width), below.read("cluster_usage", size))
        entries.append(entry.to(weights.device))
    project = None
    if width != config.hidden_size:  # else upstream has no projection
        weight = weights.at("input_proj").read("weight", width, config.hidden_size, 1)[..., 0]
        project = product(weight.to(weights.device))
    return Residual(project, entries, [product(-2 * entry, entry.square().sum(1)) for entry in entries])


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


def dequantizer(weights: Weights, config: DecoderConfig) -> Dequantizer:
    """From upstream's SplitResidualVectorQuantizer of the decoder, whose first chain has one codebook."""
    size, width = config.codebook_size, config.codebook_dim // 2
    tables = []
    for chain, count in (("rvq_first", 1), ("rvq_rest", config.num_quantizers - 1)):
        project = weights.at(chain).at("output_proj").read("weight", config.codebook_dim, width, 1)[..., 0]
        for index in range(count):
            below = weights.at(chain).at("vq.layers").at(index).at("_codebook")
            entries = codebook(below.read("embedding_sum", size, width), below.read("cluster_usage", size))
            tables.append(entries @ project.T)
    return Dequantizer(weights.placed(torch.cat(tables)), size)
