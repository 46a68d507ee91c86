"""A fresh encoder and speech -> the encoder; latents are principal components of the low band and of log-mel patches.

Training from random weights spends most of its time on finding out what a spectrum is. So the first layers start as a
filter bank with the low band's path beside it, the last ones are fitted by least squares; then, as they are cheap, they
are taught the components of the log-mel patches better. Both sorts of latents have mean square 1.
"""

import math
from typing import Any

import torch
from torch.nn import functional as F

from actors.demo.filter_bank import filter_bank
from actors.demo.held import hold_part
from actors.demo.least_squares import Basis, components, find_basis, fit, windows
from actors.demo.losses import patches
from actors.demo.lowband import CHANNELS, NUMBERS, low_frames, pass_low_band
from actors.demo.network import HIGH, LOW, branches

STEPS, CLIPS, RATE = 900, 8, 2e-3
"""Of the teaching: steps, clips in each, highest learning rate."""


@torch.no_grad()
def bank_levels(network: Any, wave: torch.Tensor) -> torch.Tensor:
    """wave [B, T] -> what the encoder's last convolution sees [B, 256, T / 960]."""
    hidden = wave[:, None]
    for layer in network.encoder.encoder.layers[:-1]:
        hidden = layer(hidden)
    return hidden


def encoder_latents(network: Any, levels: torch.Tensor) -> torch.Tensor:
    """`bank_levels` -> latents [B, D, F], through the rest of the encoder."""
    encoder = network.encoder
    hidden = encoder.encoder.layers[-1](levels).transpose(1, 2)
    return encoder.downsample(encoder.encoder_transformer(hidden, use_cache=False)[0].transpose(1, 2))


@torch.no_grad()
def start_encoder(network: Any, batches: list[torch.Tensor]) -> tuple[Basis, Basis]:
    """Fit all layers to waves [B, T]; returns the components that the latents are: of the low band, of patches."""
    encoder = network.encoder
    layers = encoder.encoder.layers
    filter_bank(layers)
    pass_low_band(layers)
    for layer in encoder.encoder_transformer.layers:
        for scale in (layer.self_attn_layer_scale.scale, layer.mlp_layer_scale.scale):
            scale.fill_(0.01)
            scale[:NUMBERS] = 0
    levels, waves = torch.cat([bank_levels(network, wave) for wave in batches]), torch.cat(batches)
    _fit_halves(layers[-1].conv, levels, waves)
    hidden = encoder.encoder_transformer(layers[-1](levels).transpose(1, 2), use_cache=False)[0].transpose(1, 2)
    seen = windows(hidden, 4, 2, "replicate").reshape(-1, hidden.shape[1], 4)
    rows = frame_patches(waves, hidden.shape[-1] // 2)
    low_rows = low_frames(waves)
    low_basis, basis = find_low_basis(low_rows), find_basis(rows, HIGH)
    down = encoder.downsample.conv.weight
    down.mul_(0.1)
    down[: LOW + HIGH] = 0
    low, _ = fit(seen[:, :NUMBERS].flatten(1), low_basis.project(low_rows))
    down[:LOW, :NUMBERS] = low.reshape(LOW, NUMBERS, 4)
    high, _ = fit(seen.flatten(1), basis.project(rows))
    down[LOW : LOW + HIGH] = high.reshape(HIGH, -1, 4)
    for quantizer, _, before in branches(network):
        quantizer.input_proj.weight.zero_()
        quantizer.input_proj.weight[:, : LOW + HIGH, 0] = torch.eye(LOW + HIGH)
        if before == 0:  # the first codebook hears the spectrum alone
            quantizer.input_proj.weight[:LOW] = 0
    return low_basis, basis


def frame_patches(waves: torch.Tensor, frames: int) -> torch.Tensor:
    """Waves [B, T] -> log-mel patches [B frames, D]."""
    return patches(waves, frames).flatten(0, 1)


def find_low_basis(rows: torch.Tensor) -> Basis:
    """Principal components of frames of the low band [N, D], LOW of them, found with quiet frames counting, too."""
    weighted = rows / (rows.square().sum(1, keepdim=True) + 1e-4).pow(0.25)
    basis = find_basis(weighted, LOW, torch.zeros_like(rows[0]))
    return basis._replace(scale=(rows @ basis.vectors).square().mean().sqrt())


def _fit_halves(last: Any, levels: torch.Tensor, waves: torch.Tensor) -> None:
    """The encoder's last convolution: 40 ms of the low band as they are, beside components of log-mel patches."""
    count = last.out_channels - NUMBERS
    weight, bias = fit(
        windows(levels, last.kernel_size[0], 1), components(frame_patches(waves, levels.shape[-1]), count)
    )
    last.weight.zero_()
    last.bias.zero_()
    low = list(CHANNELS[-1])
    last.weight[range(NUMBERS), low, -1] = 1 / levels[:, low].square().mean().sqrt()
    last.weight[NUMBERS:] = weight.reshape(count, *last.weight.shape[1:])
    last.bias[NUMBERS:] = bias


def teach_encoder(network: Any, levels: torch.Tensor, targets: torch.Tensor) -> None:
    """Train what follows the bank, from levels [N, 256, 2 F], towards latents LOW to LOW + HIGH: targets [N, F, HIGH].

    The low band's weights stay. No waveform takes part: a step is short. Nothing of the encoder needs a gradient after.
    """
    last, down = network.encoder.encoder.layers[-1].conv, network.encoder.downsample.conv.weight
    transformer = network.encoder.encoder_transformer
    learned = [last.weight, last.bias, down, *transformer.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    scales = [s.scale for layer in transformer.layers for s in (layer.self_attn_layer_scale, layer.mlp_layer_scale)]
    hooks = [hold_part(parameter, 0, 0, NUMBERS) for parameter in (last.weight, last.bias, *scales)]
    hooks.append(hold_part(down, 0, 0, LOW))
    optimizer = torch.optim.Adam(learned, betas=(0.9, 0.99))
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        chosen = torch.randint(len(levels), (CLIPS,))
        latents = encoder_latents(network, levels[chosen].float())[:, LOW : LOW + HIGH].transpose(1, 2)
        loss = F.mse_loss(latents[:, 1:], targets[chosen][:, 1:])  # a crop's first frame lacks the past
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    for hook in hooks:
        hook.remove()
    for parameter in learned:
        parameter.requires_grad_(False)
        parameter.grad = None
