"""Steps [B, S, D] -> steps [B, S, D] through pre-norm transformer layers with rotary attention and layer scale.

Both of the codec's transformers: Mimi's (layer norm, GELU) and the decoder's (RMS norm, gated SiLU).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from actors.config import DecoderConfig, EncoderConfig
from actors.network.attention import SEGMENT, Past, attend, rotary, rotate
from actors.network.pack import Attention
from actors.network.rows import Rows, gated_silu_mlp, gelu_mlp, layer_norm, linear, product, rms_norm
from actors.network.weights import Weights
from actors.tiling.cuda_graphs import Run

Angles = tuple[Tensor, Tensor]
"""Cosine and signed sine [S, head], see `rotary`."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights of one layer; `qkv` gives the three projections one after the other."""

    norm: Rows
    qkv: Rows
    out: Rows
    scale: Tensor
    mlp_norm: Rows
    mlp: Rows
    mlp_scale: Tensor

    def heads(self, x: Tensor, angles: Angles) -> Tensor:
        """x [..., S, D] -> query, key, both rotated, and value [..., S, 3, heads, head]."""
        cosine, sine = angles
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, -1, cosine.shape[1]))
        rotate(qkv[..., :2, :, :], cosine[:, None, None], sine[:, None, None])
        return qkv

    def rest(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows attention; x and attended [..., S, D]."""
        x = torch.addcmul(x, self.out(attended), self.scale)
        return torch.addcmul(x, self.mlp(self.mlp_norm(x)), self.mlp_scale)

    def __call__(self, x: Tensor, angles: Angles, window: int | None, past: Past | None) -> tuple[Tensor, Past]:
        """One segment x [B, S, D]. Returns x and the past of the next segment."""
        query, key, value = self.heads(x, angles).permute(2, 0, 3, 1, 4)  # each [B, heads, S, head]
        attended, past = attend(query, key, value, window, past)
        return self.rest(x, attended.transpose(1, 2).flatten(2)), past


@dataclass(frozen=True)
class Between:
    """All that treats each step alone, from one layer's attention to that of the next one."""

    before: Layer | None
    after: Layer | None

    def __call__(self, cosine: Tensor, sine: Tensor, x: Tensor, *attended: Tensor) -> tuple[Tensor, ...]:
        """x and what the layer `before` `attended` -> x after that layer; `heads` of the layer `after` it."""
        if self.before is not None:
            x = self.before.rest(x, *attended)
        return (x,) if self.after is None else (x, self.after.heads(x, (cosine, sine)))


@dataclass(frozen=True)
class Transformer:
    """Layers that share rotary frequencies [head / 2] and a window (None: attention over everything before)."""

    layers: list[Layer]
    inverse_frequency: Tensor
    window: int | None

    def __call__(self, x: Tensor, segment: int = SEGMENT) -> Tensor:
        """x [B, T, D] -> [B, T, D], in place: layer by layer, each in segments."""
        steps = torch.arange(x.shape[1], device=x.device)
        angles = [part.split(segment) for part in rotary(steps, self.inverse_frequency, x.dtype)]
        for layer in self.layers:
            past = None
            for piece, cosine, sine in zip(x.split(segment, 1), *angles, strict=True):
                piece[:], past = layer(piece, (cosine, sine), self.window, past)
        return x

    def packed(self, x: Tensor, attention: Attention, block: int, run: Run) -> Tensor:
        """Steps x [rows, D] of a pack -> [rows, D]; `block` of them at once are `run`."""
        angles = rotary(attention.positions, self.inverse_frequency, x.dtype)
        mask = attention.mask(x.dtype)
        x, *heads = run(Between(None, self.layers[0]), block, *angles, x)
        for pair in zip(self.layers, [*self.layers[1:], None], strict=True):
            attended = attention(heads[0], mask)
            x, *heads = run(Between(*pair), block, *angles, x, attended)
        return x

    def resume(self, x: Tensor, pasts: list[Past | None], position: int) -> Tensor:
        """The next steps x [B, S, D] of a stream, from `position` on -> [B, S, D]. Updates `pasts`."""
        steps = torch.arange(position, position + x.shape[1], dtype=torch.float64, device=x.device)  # for days
        angles = rotary(steps, self.inverse_frequency, x.dtype)
        for index, layer in enumerate(self.layers):
            x, pasts[index] = layer(x, angles, self.window, pasts[index])
        return x


def mimi_transformer(weights: Weights, config: EncoderConfig, window: int | None) -> Transformer:
    """The encoder's, a MimiTransformerModel of transformers; `window` None: attention over everything before."""
    size, wide, eps = config.hidden_size, config.intermediate_size, config.norm_eps
    layers = [
        _layer(
            below,
            config,
            layer_norm(below.at("input_layernorm"), size, eps),
            layer_norm(below.at("post_attention_layernorm"), size, eps),
            gelu_mlp(below.at("mlp"), size, wide),
        )
        for below in map(weights.at("layers").at, range(config.num_hidden_layers))
    ]
    return Transformer(layers, _inverse_frequency(config).to(weights.device), window)


def decoder_transformer(weights: Weights, config: DecoderConfig) -> Transformer:
    """The decoder's, a Qwen3TTSTokenizerV2DecoderTransformerModel without its projections and last norm."""
    size, wide, eps = config.hidden_size, config.intermediate_size, config.rms_norm_eps
    layers = [
        _layer(
            below,
            config,
            rms_norm(below.at("input_layernorm"), size, eps),
            rms_norm(below.at("post_attention_layernorm"), size, eps),
            gated_silu_mlp(below.at("mlp"), size, wide),
        )
        for below in map(weights.at("layers").at, range(config.num_hidden_layers))
    ]
    return Transformer(layers, _inverse_frequency(config).to(weights.device), config.sliding_window)


def _layer(weights: Weights, config: EncoderConfig | DecoderConfig, norm: Rows, mlp_norm: Rows, mlp: Rows) -> Layer:
    size, inner = config.hidden_size, config.num_attention_heads * config.head_dim
    attention = weights.at("self_attn")
    qkv = torch.cat([attention.at(name).read("weight", inner, size) for name in ("q_proj", "k_proj", "v_proj")])
    return Layer(
        norm,
        product(weights.placed(qkv)),
        linear(attention.at("o_proj"), inner, size, bias=False),
        weights.at("self_attn_layer_scale").get("scale", size),
        mlp_norm,
        mlp,
        weights.at("mlp_layer_scale").get("scale", size),
    )


def _inverse_frequency(config: EncoderConfig | DecoderConfig) -> Tensor:
    """fp32 [head / 2]: radians a step of each pair of a head's channels, as in transformers' default of RoPE."""
    exponents = torch.arange(0, config.head_dim, 2, device="cpu").float() / config.head_dim
    return 1.0 / config.rope_theta**exponents
