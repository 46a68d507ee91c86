"""The encoder's filter bank -> the same with a linear path beside it: the wave below 550 Hz, 48 numbers each 40 ms.

The bank's levels know no pitch. So some channels of every convolution pass the wave on: each holds the linear
functionals of its window that lie best within the low band (Slepian sequences). They are so quiet that ELU is linear.
"""

import functools
import math
from typing import Any

import numpy as np
import scipy.linalg
import torch

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE

CUT, END = 450.0, 600.0
"""Hz: the low band is whole below CUT and gone from END on."""
QUIET = 0.01
"""Gain of the path: ELU bends a wave of 0.3 by less than 0.2 %."""
CHANNELS = ((1,), (0, 1), (0, 1, 2, 3), tuple(range(104, 124)), tuple(range(208, 256)))
"""Channels of the path behind each of the five convolutions; the filter bank leaves them free."""
NUMBERS = len(CHANNELS[-1])
"""Of the path, each 40 ms."""


@functools.cache
def _pass(samples: int, device: torch.device) -> torch.Tensor:
    hertz = torch.fft.rfftfreq(samples, 1 / SAMPLE_RATE, device=device)
    return 0.5 + 0.5 * torch.cos(math.pi * ((hertz - CUT) / (END - CUT)).clamp(0, 1))


def lowpass(wave: torch.Tensor) -> torch.Tensor:
    """The low band of waves [B, T], without delay."""
    samples = wave.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(wave) * _pass(samples, wave.device), n=samples)


def _windows(filters: np.ndarray, taps: int, hop: int) -> np.ndarray:
    """FIR filters [C, N] that a convolution sees at `taps` steps of `hop` samples -> [C taps, N + (taps - 1) hop]."""
    channels, length = filters.shape
    seen = np.zeros((channels, taps, length + (taps - 1) * hop))
    for tap in range(taps):
        seen[:, tap, tap * hop : tap * hop + length] = filters
    return seen.reshape(channels * taps, -1)


def _best(seen: np.ndarray, count: int) -> np.ndarray:
    """Weights [count, C taps]: the combinations of FIR filters whose energy is most within the low band."""
    lags = np.arange(seen.shape[1])
    band = 2 * END / SAMPLE_RATE
    inside = seen @ scipy.linalg.toeplitz(band * np.sinc(band * lags)) @ seen.T
    everything = seen @ seen.T
    everything += 1e-3 * np.trace(everything) / len(everything) * np.eye(len(everything))  # no small differences
    _, vectors = scipy.linalg.eigh(inside, everything)
    return vectors.T[::-1][:count].copy()


@torch.no_grad()
def pass_low_band(layers: Any) -> None:
    """Set the path's channels of the encoder's convolutions but the last."""
    convolutions = [layers[index].conv for index in (0, 3, 6, 9, 12)]
    filters, hop = np.ones((1, 1)), 1
    convolutions[0].weight[CHANNELS[0][0]] = 0
    convolutions[0].weight[CHANNELS[0][0], 0, -1] = QUIET
    for index in (1, 2, 3, 4):
        conv, before, here = convolutions[index], list(CHANNELS[index - 1]), list(CHANNELS[index])
        layers[3 * index - 2].block[3].conv.weight[before] = 0
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        taps = stride if index == 4 else kernel  # the last one: 40 ms, so that two make a frame
        seen = _windows(filters, taps, hop)
        weight = _best(seen, len(here))
        filters, hop = weight @ seen, hop * stride
        conv.weight[here] = 0
        rows = torch.from_numpy(weight).float().reshape(len(here), len(before), taps).to(conv.weight)
        for place, channel in enumerate(here):
            conv.weight[channel, before, -taps:] = rows[place]


def low_frames(wave: torch.Tensor) -> torch.Tensor:
    """Waves [B, T], whole frames -> the low band of each frame at 2.4 kHz: [B frames, 192]."""
    return lowpass(wave)[:, ::10].reshape(-1, FRAME_SAMPLES // 10)
