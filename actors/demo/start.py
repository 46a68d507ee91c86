"""A fresh network and some speech -> the same network, its layers fitted one after the other by least squares.

Training from random weights spends most of its time on finding out what a spectrum is. So the encoder starts as a
filter bank (four strided convolutions split speech into 32 bands, whose rectified and squashed levels are what its last
convolution sees), its latents as the principal components of log-mel patches, and the decoder's layers up to the
waveform stack as the way back. Transformers and residual blocks start near zero: they learn what this cannot.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from actors.demo.losses import patches
from actors.demo.network import branches

BANDS = [62.5 + 125 * i for i in (*range(16), *range(16, 32, 2), *range(32, 64, 4))]
"""Hz of the 32 bands: 125 Hz apart below 2 kHz, 250 below 4, 500 below 8."""
LEVELS = (10_000.0, 1_000.0)
"""Gains before the rectifier, for quiet and for loud sounds."""
SQUASH = ((1.0, 0.2), (0.45, 0.1))
"""Gains before the second activation, for each of LEVELS: bends at about -70, -56, -43 and -30 dB."""
PATCH_MEAN, PATCH_SPREAD = -6.0, 2.0
"""Of log-mel speech, about."""


def _fit(layer_in: torch.Tensor, wanted: torch.Tensor, ridge: float = 1e-4) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares [N, D] -> [N, M]: weights [M, D] and biases [M]."""
    seen = torch.cat([layer_in, torch.ones_like(layer_in[:, :1])], 1).double()
    square = seen.T @ seen
    square += ridge * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype, device=square.device)
    solution = torch.linalg.solve(square, seen.T @ wanted.double()).T.float()
    return solution[:, :-1], solution[:, -1]


def _windows(series: torch.Tensor, kernel: int, stride: int, mode: str = "constant") -> torch.Tensor:
    """What each output step of a causal convolution sees: [B, C, T] -> [B T / stride, C kernel]."""
    padded = F.pad(series, (kernel - stride, 0), mode=mode)
    return padded.unfold(-1, kernel, stride).transpose(1, 2).flatten(2).flatten(0, 1)


def _components(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Principal components of centred rows [N, D]: [N, count]."""
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    return rows @ vectors.flip(1)[:, :count]


def _split(conv: nn.Conv1d, centres: list[float], rate: int, sources: list[int] | None, gains: list[float]) -> None:
    """Set a strided convolution to band filters: complex channel (2 i, 2 i + 1) is centres[i] Hz at `rate` Hz in.

    sources[i] is the complex channel that it is cut from; None: the real channel 0.
    """
    taps = conv.kernel_size[0]
    window = torch.hann_window(taps + 1)[1:]
    window = window / window.sum()
    conv.weight.zero_()
    for index, centre in enumerate(centres):
        angle = 2 * math.pi * centre / rate * torch.arange(taps)
        cosine, sine = gains[index] * window * angle.cos(), gains[index] * window * angle.sin()
        if sources is None:
            conv.weight[2 * index, 0], conv.weight[2 * index + 1, 0] = 2 * cosine, -2 * sine
            continue
        source = 2 * sources[index]
        conv.weight[2 * index, source], conv.weight[2 * index, source + 1] = cosine, sine
        conv.weight[2 * index + 1, source], conv.weight[2 * index + 1, source + 1] = -sine, cosine


@torch.no_grad()
def filter_bank(layers: Any) -> None:
    """The encoder's convolutions but the last: 24 kHz -> 16, 32, 64 complex bands -> 256 levels at 25 Hz."""
    convolutions = [layers[index].conv for index in (0, 3, 6, 9, 12)]
    for index in (1, 4, 7, 10):
        layers[index].block[3].conv.weight.mul_(1e-3)
    convolutions[0].weight.mul_(0.02)
    convolutions[0].weight[0] = 0
    convolutions[0].weight[0, 0, -1] = 1
    wide, narrow = [250 + 500.0 * i for i in range(16)], [125 + 250.0 * i for i in range(32)]
    _split(convolutions[1], wide, 24_000, None, [1.0] * 16)
    _split(convolutions[2], narrow, 6_000, [i // 2 for i in range(32)], [1.0] * 32)
    gains = [level for level in LEVELS for _ in BANDS]
    _split(convolutions[3], BANDS * 2, 1_200, [int(f // 250) for f in BANDS] * 2, gains)
    levels = convolutions[4].weight
    levels.mul_(0.02)
    for channel in range(2 * len(BANDS)):
        for half in range(2):
            for index, squash in enumerate(SQUASH[channel // len(BANDS)]):
                taps = slice(8 + 4 * half, 12 + 4 * half)
                levels[4 * channel + 2 * half + index] = 0
                levels[4 * channel + 2 * half + index, 2 * channel : 2 * channel + 2, taps] = -squash / 8


@torch.no_grad()
def start_encoder(network: Any, batches: list[torch.Tensor]) -> None:
    """Filter bank, then the last convolution and the downsampling fitted to patches of the waves [B, T]."""
    encoder = network.encoder
    layers = encoder.encoder.layers
    filter_bank(layers)
    for layer in encoder.encoder_transformer.layers:
        layer.self_attn_layer_scale.scale.fill_(0.01)
        layer.mlp_layer_scale.scale.fill_(0.01)
    seen = []
    for wave in batches:
        hidden = wave[:, None]
        for layer in layers[:-1]:
            hidden = layer(hidden)
        seen.append(hidden)
    hidden = torch.cat(seen)
    waves = torch.cat(batches)
    last = layers[-1].conv
    halves = _components(_patches(waves, hidden.shape[-1]), last.out_channels)
    weight, bias = _fit(_windows(hidden, last.kernel_size[0], 1), halves / halves.std())
    last.weight.copy_(weight.reshape(last.weight.shape))
    last.bias.copy_(bias)
    hidden = torch.cat([layers[-1](part) for part in seen])
    hidden = encoder.encoder_transformer(hidden.transpose(1, 2), use_cache=False)[0].transpose(1, 2)
    down = encoder.downsample.conv
    width = network.config.encoder_config.codebook_dim
    whole = _components(_patches(waves, hidden.shape[-1] // 2), width)
    weight, _ = _fit(_windows(hidden, 4, 2, "replicate"), whole / whole.square().mean().sqrt())
    down.weight.mul_(0.1)
    down.weight[:width] = weight.reshape(width, -1, 4)
    for quantizer, _, _ in branches(network):
        quantizer.input_proj.weight.mul_(0.02)
        quantizer.input_proj.weight[:, :width, 0] = torch.eye(width)


def _patches(waves: torch.Tensor, steps: int) -> torch.Tensor:
    """Centred log-mel patches [B steps, D]."""
    rows = patches(waves, steps).flatten(0, 1)
    return (rows - rows.mean(0)) / PATCH_SPREAD


@torch.no_grad()
def start_decoder(network: Any, head: nn.Linear, total: torch.Tensor, waves: torch.Tensor) -> None:
    """All between the codebooks and the waveform stack, from the quantizer's output [B, D, F] for waves [B, T]."""
    decoder = network.decoder
    first = decoder.pre_conv.conv
    half = first.in_channels // 2
    first.weight.mul_(0.02)
    first.weight[: 2 * half, :, -1] += torch.eye(2 * half)
    first.weight[2 * half : 3 * half, :half, -2] += torch.eye(half)  # the frame before
    first.bias.zero_()
    first.bias[3 * half :] = 4.0  # constants, so that the norm after the transformer hardly changes levels
    transformer = decoder.pre_transformer
    for linear in (transformer.input_proj, transformer.output_proj):
        linear.weight.copy_(torch.eye(linear.in_features))
        linear.bias.zero_()
    for layer in transformer.layers:
        layer.self_attn_layer_scale.scale.fill_(0.01)
        layer.mlp_layer_scale.scale.fill_(0.01)
    hidden = decoder.pre_conv(total).transpose(1, 2)
    hidden = transformer(inputs_embeds=hidden, use_cache=False).last_hidden_state.transpose(1, 2)
    width = hidden.shape[1]
    for up, block in decoder.upsample:
        steps = 2 * hidden.shape[-1]
        final = up is decoder.upsample[-1][0]
        rows = (patches(waves, steps).flatten(0, 1) - PATCH_MEAN) / PATCH_SPREAD
        wanted = rows if final else _components(rows - rows.mean(0), width)
        wanted = wanted if final else wanted / wanted.std()
        weight, bias = _fit(hidden.transpose(1, 2).flatten(0, 1), wanted.reshape(-1, 2 * width))
        up.conv.weight.copy_(weight.reshape(2, width, width).permute(2, 1, 0))
        constant = bias.reshape(2, width)
        up.conv.bias.copy_(constant.mean(0))
        block.gamma.fill_(0.02)
        hidden = block(up(hidden))
    head.weight.copy_(PATCH_SPREAD * torch.eye(width))
    head.bias.fill_(PATCH_MEAN)


@torch.no_grad()
def start_projections(network: Any) -> None:
    """The decoder sees both branches side by side: the acoustic one first."""
    for _, quantizer, before in branches(network):
        weight = quantizer.output_proj.weight
        width = weight.shape[1]
        weight.mul_(0.02)
        place = slice(width, None) if before == 0 else slice(0, width)
        weight[place, :, 0] += torch.eye(width)
