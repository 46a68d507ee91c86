"""Codebooks' entries -> the latents that the waveform stack is fed with, layer after layer by least squares.

The last latents, four to a frame, are two log-mel patches and the low band's amplitudes.
"""

from typing import Any

import torch
from torch import nn

from actors.demo.held import hold_part
from actors.demo.least_squares import components, fit
from actors.demo.losses import patches
from actors.demo.lowvoice import amplitudes
from actors.demo.network import HIGH, LOW, branches
from actors.demo.vocoder import AMPLIFIED, LOW_LATENTS, firsts

PATCH_MEAN, PATCH_SPREAD = -6.0, 2.0
"""Of log-mel speech, about."""
CONSTANT, CONSTANTS = 60.0, 8
"""The last inputs of the transformer, so many, are constant: its norms then hardly change levels."""
BEFORE = (24, 16)
"""Numbers of the frame before that a frame is told again: of the low band, of the spectrum."""


@torch.no_grad()
def start_projections(network: Any) -> None:
    """The decoder sees both branches side by side: the acoustic one first."""
    for _, quantizer, before in branches(network):
        weight = quantizer.output_proj.weight
        width = weight.shape[1]
        weight.mul_(0.02)
        weight[:LOW] = weight[width : width + LOW] = 0
        place = slice(width, None) if before == 0 else slice(0, width)
        weight[place, :, 0] += torch.eye(width)


@torch.no_grad()
def start_decoder(network: Any, head: nn.Linear, total: torch.Tensor, waves: torch.Tensor) -> None:
    """All between the codebooks and the waveform stack, from the quantizer's output [B, D, F] for waves [B, T].

    The stack's low path must have been set: its amplitudes are what is fitted.
    """
    decoder = network.decoder
    _gather_frames(decoder.pre_conv.conv)
    _pass_transformer(decoder.pre_transformer)
    hidden = decoder.pre_conv(total).transpose(1, 2)
    hidden = decoder.pre_transformer(inputs_embeds=hidden, use_cache=False).last_hidden_state.transpose(1, 2)
    low = amplitudes(decoder.decoder, firsts()[0], waves) * AMPLIFIED
    width = hidden.shape[1]
    for up, block in decoder.upsample:
        steps = 2 * hidden.shape[-1]
        final = up is decoder.upsample[-1][0]
        rows = (patches(waves, steps).flatten(0, 1) - PATCH_MEAN) / PATCH_SPREAD
        parts = low.reshape(len(rows), -1)
        if final:
            wanted = torch.cat([rows, parts, torch.zeros(len(rows), width - LOW_LATENTS - parts.shape[1])], 1)
        else:
            wanted = torch.cat([components(parts, LOW), components(rows, width - LOW)], 1)
        weight, bias = fit(hidden.transpose(1, 2).flatten(0, 1), wanted.reshape(-1, 2 * width))
        up.conv.weight.copy_(weight.reshape(2, width, width).permute(2, 1, 0))
        constant = bias.reshape(2, width)
        up.conv.bias.copy_(constant.mean(0))
        block.gamma.fill_(0.02)
        block.gamma[slice(LOW_LATENTS, None) if final else slice(0, LOW)] = 0.002
        hidden = block(up(hidden))
    head.weight.zero_()
    head.weight[:, :LOW_LATENTS] = PATCH_SPREAD * torch.eye(LOW_LATENTS)
    head.bias.fill_(PATCH_MEAN)


def hold_constants(decoder: Any) -> None:
    """No gradient for the weights that multiply the constants: so large an input would turn each step into a jump."""
    transformer = decoder.pre_transformer
    for weight, axis in (
        (transformer.input_proj.weight, 1),
        (transformer.output_proj.weight, 1),
        (decoder.upsample[0][0].conv.weight, 0),
    ):
        hold_part(weight, axis, weight.shape[axis] - CONSTANTS, CONSTANTS)


def _gather_frames(first: Any) -> None:
    """The transformer's input: both branches, what is needed of the frame before, and constants."""
    first.weight.mul_(0.02)
    first.weight[:LOW] = first.weight[:, :LOW] = first.weight[:, LOW + HIGH : 2 * LOW + HIGH] = 0
    acoustic, low, high = LOW + HIGH, *BEFORE
    semantic = slice(acoustic + LOW, acoustic + LOW + HIGH)
    first.weight[:acoustic, :acoustic, -1] += torch.eye(acoustic)
    first.weight[acoustic : acoustic + HIGH, semantic, -1] += torch.eye(HIGH)
    begin = acoustic + HIGH
    first.weight[begin : begin + low, :low, -2] += torch.eye(low)
    first.weight[begin + low : begin + low + high, LOW : LOW + high, -2] += torch.eye(high)
    first.bias.zero_()
    first.bias[-CONSTANTS:] = CONSTANT


def _pass_transformer(transformer: Any) -> None:
    """The transformer as nearly nothing: its layers small, its norms as large as the constants make the inputs."""
    for linear in (transformer.input_proj, transformer.output_proj):
        linear.weight.copy_(torch.eye(linear.in_features))
        linear.bias.zero_()
    size = CONSTANT * (CONSTANTS / transformer.input_proj.in_features) ** 0.5
    transformer.norm.weight.fill_(size)
    for layer in transformer.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight.fill_(size)
            norm.weight[-CONSTANTS:] = 1 / size
        layer.self_attn_layer_scale.scale.fill_(0.01)
        layer.mlp_layer_scale.scale.fill_(0.01)
