"""The encoder's convolutions but the last -> a filter bank: 24 kHz -> 16, 32, 64 complex bands -> 208 levels at 25 Hz.

Four strided convolutions split speech into 26 bands; rectified and squashed, their levels are what the last convolution
sees.
"""

import math
from typing import Any

import torch
from torch import nn

BANDS = [62.5 + 125 * i for i in (*range(4, 16), *range(16, 32, 2), *range(34, 64, 5))]
"""Hz of the 26 bands: 125 Hz apart from 500 Hz to 2 kHz, 250 below 4, 625 below 8."""
LEVELS = (10_000.0, 1_000.0)
"""Gains before the rectifier, for quiet and for loud sounds."""
SQUASH = ((1.0, 0.2), (0.45, 0.1))
"""Gains before the second activation, for each of LEVELS: bends at about -70, -56, -43 and -30 dB."""


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
    """Set them; the low band's path takes the channels that stay free."""
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
