"""What a layer sees and what it should give -> its weights; rows -> their principal components."""

from typing import NamedTuple

import torch
from torch.nn import functional as F


def fit(layer_in: torch.Tensor, wanted: torch.Tensor, ridge: float = 1e-4) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares [N, D] -> [N, M]: weights [M, D] and biases [M]. The ridge is relative to each input's own size."""
    scale = layer_in.square().mean(0).sqrt().clamp(min=1e-9).double()
    seen = torch.cat([layer_in.double() / scale, torch.ones_like(layer_in[:, :1]).double()], 1)
    square = seen.T @ seen + ridge * len(seen) * torch.eye(seen.shape[1], dtype=seen.dtype, device=seen.device)
    solution = torch.linalg.solve(square, seen.T @ wanted.double()).T
    return (solution[:, :-1] / scale).float(), solution[:, -1].float()


def windows(series: torch.Tensor, kernel: int, stride: int, mode: str = "constant") -> torch.Tensor:
    """What each output step of a causal convolution sees: [B, C, T] -> [B T / stride, C kernel]."""
    padded = F.pad(series, (kernel - stride, 0), mode=mode)
    return padded.unfold(-1, kernel, stride).transpose(1, 2).flatten(2).flatten(0, 1)


class Basis(NamedTuple):
    """Principal components of rows [N, D]."""

    mean: torch.Tensor
    vectors: torch.Tensor
    scale: torch.Tensor
    """Root of the mean square of the components."""

    def project(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [N, D] -> components [N, count]; the mean square of those that the basis was found for is 1."""
        return (rows - self.mean) @ self.vectors / self.scale


def find_basis(rows: torch.Tensor, count: int, mean: torch.Tensor | None = None) -> Basis:
    """The first `count` principal components of rows [N, D], about their own mean or the given one."""
    mean = rows.mean(0) if mean is None else mean
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean))
    vectors = vectors.flip(1)[:, :count]
    return Basis(mean, vectors, ((rows - mean) @ vectors).square().mean().sqrt())


def components(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` principal components of rows [N, D]: [N, count], mean square 1."""
    return find_basis(rows, count).project(rows)
