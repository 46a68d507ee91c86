"""Weights -> functions of rows [..., D] that treat each row alone: products, norms and multilayer perceptrons."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.network.weights import Weights

Rows = Callable[[Tensor], Tensor]
Onto = Callable[[Tensor, Tensor], Tensor]
"""(x, y) -> y + a function of x, in place of y."""

PADDED_TO = 16
"""Products of more rows are padded to a multiple of so many, since oneDNN keeps code and buffers for every number: a
process grows by 310 MB over clips of 300 lengths, else by 670."""
LAYOUT_ROWS = 64
"""Rows for which oneDNN is asked to lay weights out."""


def on_onednn(weight: Tensor) -> bool:
    """Whether oneDNN computes with this weight."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def product(weight: Tensor, bias: Tensor | None = None) -> Rows:
    """x [..., in] -> x weight^T + bias [..., out] of a weight [out, in].

    On a CPU, fp32 weights are laid out once for oneDNN, as torch.compile does it. Else they are laid out again at every
    call: few rows then take two to three times as long, and results may depend on how many there are.
    """
    weight = weight.contiguous()
    if not on_onednn(weight):
        return lambda x: F.linear(x, weight, bias)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, LAYOUT_ROWS)

    def by_onednn(x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        count = len(rows)
        more = -count % PADDED_TO if count > PADDED_TO else int(count == 1)  # of one row oneDNN adds in another order
        rows = F.pad(rows, (0, 0, 0, more)) if more else rows
        return torch.ops.mkldnn._linear_pointwise(rows, laid_out, bias, "none", [], "")[:count].unflatten(
            0, x.shape[:-1]
        )

    return by_onednn


def product_onto(weight: Tensor, bias: Tensor | None = None) -> Onto:
    """`product`, added to y; without a bias as the product is written, which on CUDA saves a pass over memory."""
    if bias is not None:
        function = product(weight, bias)
        return lambda x, y: y.add_(function(x))
    columns = weight.T.contiguous()
    return lambda x, y: y.flatten(0, -2).addmm_(x.flatten(0, -2), columns).view_as(y)


def linear(weights: Weights, inputs: int, outputs: int, bias: bool = True) -> Rows:
    """The `product` of a linear layer's "weight" and "bias"."""
    return product(weights.get("weight", outputs, inputs), weights.get("bias", outputs) if bias else None)


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
    up, down = linear(weights.at("fc1"), size, wide, bias=False), linear(weights.at("fc2"), wide, size, bias=False)
    return lambda x: down(F.gelu(up(x)))


def gated_silu_mlp(weights: Weights, size: int, wide: int) -> Rows:
    """The decoder's, gated."""
    gate, up = (linear(weights.at(name), size, wide, bias=False) for name in ("gate_proj", "up_proj"))
    down = linear(weights.at("down_proj"), wide, size, bias=False)
    return lambda x: down(F.silu(gate(x)).mul_(up(x)))
