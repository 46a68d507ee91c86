"""Steps [B, S, D] -> steps [B, S, D] through pre-norm transformer layers with rotary attention and layer scale.

Both of the codec's transformers: Mimi's (layer norm, GELU) and the decoder's (RMS norm, gated SiLU).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.network.attention import SEGMENT, Past, attend, rotary, rotate
from actors.network.layers import own

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """Weights of one layer; `qkv` [3 * heads * head, D] holds the three projections stacked."""

    norm: Norm
    qkv: Tensor
    out: Tensor
    scale: Tensor
    mlp_norm: Norm
    mlp: Callable[[Tensor], Tensor]
    mlp_scale: Tensor

    def __call__(
        self, x: Tensor, angles: tuple[Tensor, Tensor], window: int | None, past: Past | None
    ) -> tuple[Tensor, Past]:
        """One segment x [B, S, D]; `angles` cosine and sine [S, head]. Returns x and the past of the next segment."""
        head = angles[0].shape[1]
        heads = F.linear(self.norm(x), self.qkv).unflatten(2, (3, -1, head))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each [B, heads, S, head]
        attended, past = attend(rotate(query, *angles), rotate(key, *angles), value, window, past)
        x = torch.addcmul(x, F.linear(attended.transpose(1, 2).flatten(2), self.out), self.scale)
        return torch.addcmul(x, self.mlp(self.mlp_norm(x)), self.mlp_scale), past


@dataclass(frozen=True)
class Transformer:
    """Layers that share rotary frequencies [head / 2] and a window (None: attention over everything before)."""

    layers: list[Layer]
    inverse_frequency: Tensor
    window: int | None

    def __call__(self, x: Tensor, segment: int = SEGMENT) -> Tensor:
        """x [B, T, D] -> [B, T, D], in place: layer by layer, each in segments."""
        for layer in self.layers:
            past = None
            for start in range(0, x.shape[1], segment):
                piece = x[:, start : start + segment]
                angles = rotary(start, start + piece.shape[1], self.inverse_frequency, x.dtype)
                piece[:], past = layer(piece, angles, self.window, past)
        return x

    def resume(self, x: Tensor, pasts: list[Past | None], position: int) -> Tensor:
        """The next steps x [B, S, D] of a stream, from `position` on -> [B, S, D]. Updates `pasts`."""
        angles = rotary(position, position + x.shape[1], self.inverse_frequency, x.dtype)
        for index, layer in enumerate(self.layers):
            x, pasts[index] = layer(x, angles, self.window, pasts[index])
        return x


def mimi_transformer(module: Any, window: int | None, device: torch.device, dtype: torch.dtype) -> Transformer:
    """From transformers' MimiTransformerModel."""
    layers = [_layer(layer, _layer_norm, _gelu, device, dtype) for layer in module.layers]
    return Transformer(layers, module.layers[0].self_attn.rotary_emb.inv_freq.float().to(device), window)


def decoder_transformer(module: Any, device: torch.device, dtype: torch.dtype) -> Transformer:
    """From upstream's Qwen3TTSTokenizerV2DecoderTransformerModel, without its projections and last norm."""
    layers = [_layer(layer, rms_norm, _gated_silu, device, dtype) for layer in module.layers]
    return Transformer(layers, module.rotary_emb.inv_freq.float().to(device), module.window_size)


def _layer(
    module: Any,
    norm: Callable[[Any, torch.device, torch.dtype], Norm],
    mlp: Callable[[Any, torch.device, torch.dtype], Callable[[Tensor], Tensor]],
    device: torch.device,
    dtype: torch.dtype,
) -> Layer:
    attention = module.self_attn
    assert attention.num_key_value_groups == 1, "grouped keys"
    projections = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
    return Layer(
        norm(module.input_layernorm, device, dtype),
        torch.cat([weight.detach() for weight in projections]).to(device, dtype),
        own(attention.o_proj.weight, device, dtype),
        own(module.self_attn_layer_scale.scale, device, dtype),
        norm(module.post_attention_layernorm, device, dtype),
        mlp(module.mlp, device, dtype),
        own(module.mlp_layer_scale.scale, device, dtype),
    )


def _layer_norm(module: Any, device: torch.device, dtype: torch.dtype) -> Norm:
    weight, bias, eps = own(module.weight, device, dtype), own(module.bias, device, dtype), module.eps
    return lambda x: F.layer_norm(x, weight.shape, weight, bias, eps)


def rms_norm(module: Any, device: torch.device, dtype: torch.dtype) -> Norm:
    """Root-mean-square norm, its statistics in fp32."""
    weight, eps = own(module.weight, device, dtype), module.variance_epsilon

    def norm(x: Tensor) -> Tensor:
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)

    return norm


def _gelu(module: Any, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    up, down = own(module.fc1.weight, device, dtype), own(module.fc2.weight, device, dtype)
    return lambda x: F.linear(F.gelu(F.linear(x, up)), down)


def _gated_silu(module: Any, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    gate, up = own(module.gate_proj.weight, device, dtype), own(module.up_proj.weight, device, dtype)
    down = own(module.down_proj.weight, device, dtype)
    return lambda x: F.linear(F.silu(F.linear(x, gate)).mul_(F.linear(x, up)), down)
