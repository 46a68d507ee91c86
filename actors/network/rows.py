"""Weights -> functions of rows [..., D] that treat each row alone: norms and multilayer perceptrons."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.network.weights import Weights

Rows = Callable[[Tensor], Tensor]


def layer_norm(weights: Weights, size: int, eps: float) -> Rows:
    """Layer norm over the last dimension."""
    weight, bias = weights.get("weight", size), weights.get("bias", size)
    return lambda x: F.layer_norm(x, weight.shape, weight, bias, eps)


def rms_norm(weights: Weights, size: int, eps: float) -> Rows:
    """Root-mean-square norm, its statistics in fp32. CUDA has one kernel of it; on a CPU PyTorch's own is slower."""
    weight = weights.get("weight", size)
    if weight.device.type == "cuda":
        return lambda x: F.rms_norm(x, weight.shape, weight, eps)

    def norm(x: Tensor) -> Tensor:
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)

    return norm


def gelu_mlp(weights: Weights, size: int, wide: int) -> Rows:
    """The encoder's multilayer perceptron, without biases."""
    up, down = weights.at("fc1").get("weight", wide, size), weights.at("fc2").get("weight", size, wide)
    return lambda x: F.linear(F.gelu(F.linear(x, up)), down)


def gated_silu_mlp(weights: Weights, size: int, wide: int) -> Rows:
    """The decoder's, gated."""
    gate, up = weights.at("gate_proj").get("weight", wide, size), weights.at("up_proj").get("weight", wide, size)
    down = weights.at("down_proj").get("weight", size, wide)
    return lambda x: F.linear(F.silu(F.linear(x, gate)).mul_(F.linear(x, up)), down)
