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
from actors.demo.lowband import CHANNELS, NUMBERS, low_components, pass_low_band
from actors.demo.network import HIGH, LOW, branches

BANDS = [62.5 + 125 * i for i in (*range(4, 16), *range(16, 32, 2), *range(34, 64, 5))]
"""Hz of the 26 bands: 125 Hz apart from 500 Hz to 2 kHz, 250 below 4, 625 below 8."""
LEVELS = (10_000.0, 1_000.0)
"""Gains before the rectifier, for quiet and for loud sounds."""
SQUASH = ((1.0, 0.2), (0.45, 0.1))
"""Gains before the second activation, for each of LEVELS: bends at about -70, -56, -43 and -30 dB."""
PATCH_MEAN, PATCH_SPREAD = -6.0, 2.0
"""Of log-mel speech, about."""


def fit(layer_in: torch.Tensor, wanted: torch.Tensor, ridge: float = 1e-4) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares [N, D] -> [N, M]: weights [M, D] and biases [M]. The ridge is relative to each input's own size."""
    scale = layer_in.square().mean(0).sqrt().clamp(min=1e-9).double()
    seen = torch.cat([layer_in.double() / scale, torch.ones_like(layer_in[:, :1]).double()], 1)
    square = seen.T @ seen + ridge * len(seen) * torch.eye(seen.shape[1], dtype=seen.dtype, device=seen.device)
    solution = torch.linalg.solve(square, seen.T @ wanted.double()).T
    return (solution[:, :-1] / scale).float(), solution[:, -1].float()


def _windows(series: torch.Tensor, kernel: int, stride: int, mode: str = "constant") -> torch.Tensor:
    """What each output step of a causal convolution sees: [B, C, T] -> [B T / stride, C kernel]."""
    padded = F.pad(series, (kernel - stride, 0), mode=mode)
    return padded.unfold(-1, kernel, stride).transpose(1, 2).flatten(2).flatten(0, 1)


def components(rows: torch.Tensor, count: int) -> torch.Tensor:
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
    """Filter bank and low band, then the last convolution and the downsampling fitted to the waves [B, T]."""
    encoder = network.encoder
    layers = encoder.encoder.layers
    filter_bank(layers)
    pass_low_band(layers)
    for layer in encoder.encoder_transformer.layers:
        layer.self_attn_layer_scale.scale.fill_(0.01)
        layer.mlp_layer_scale.scale.fill_(0.01)
    seen = []
    for wave in batches:
        hidden = wave[:, None]
        for layer in layers[:-1]:
            hidden = layer(hidden)
        seen.append(hidden)
    waves = torch.cat(batches)
    _fit_halves(layers[-1].conv, torch.cat(seen), waves)
    hidden = torch.cat([layers[-1](part) for part in seen])
    hidden = encoder.encoder_transformer(hidden.transpose(1, 2), use_cache=False)[0].transpose(1, 2)
    down = encoder.downsample.conv
    frames = hidden.shape[-1] // 2
    high = components(_patches(waves, frames), HIGH)
    whole = torch.cat([low_components(waves, frames, LOW), high / high.square().mean().sqrt()], 1)
    weight, _ = fit(_windows(hidden, 4, 2, "replicate"), whole)
    down.weight.mul_(0.1)
    down.weight[: LOW + HIGH] = weight.reshape(LOW + HIGH, -1, 4)
    for quantizer, _, before in branches(network):
        quantizer.input_proj.weight.mul_(0.02)
        quantizer.input_proj.weight[:, : LOW + HIGH, 0] = torch.eye(LOW + HIGH)
        if before == 0:  # the first codebook hears the spectrum alone
            quantizer.input_proj.weight[:LOW] = 0


def _fit_halves(last: Any, hidden: torch.Tensor, waves: torch.Tensor) -> None:
    """The encoder's last convolution: 40 ms of the low band as they are, beside components of log-mel patches."""
    count = last.out_channels - NUMBERS
    halves = components(_patches(waves, hidden.shape[-1]), count)
    weight, bias = fit(_windows(hidden, last.kernel_size[0], 1), halves / halves.std())
    last.weight.zero_()
    last.bias.zero_()
    low = list(CHANNELS[-1])
    last.weight[range(NUMBERS), low, -1] = 1 / hidden[:, low].square().mean().sqrt()
    last.weight[NUMBERS:] = weight.reshape(count, *last.weight.shape[1:])
    last.bias[NUMBERS:] = bias


def _patches(waves: torch.Tensor, steps: int) -> torch.Tensor:
    """Centred log-mel patches [B steps, D]."""
    rows = patches(waves, steps).flatten(0, 1)
    return (rows - rows.mean(0)) / PATCH_SPREAD
