"""A network whose latents know the spectrum -> the same network, its waveform stack set to a bank of tones.

A waveform stack with random weights stays at the average spectrum for a thousand steps. But four strided transposed
convolutions can be written down that turn amplitudes into tones exactly: tone f is split into multiples of the rates
that come in (50, 400, 2000 and 8000 Hz), and every stage mixes its part up while it interpolates. One least-squares
fit from latents to amplitudes then gives a rough, intelligible voice from which training goes on.
"""

import math
from typing import Any

import torch
from torch.nn import functional as F

from actors.demo.losses import PATCH_BANDS
from actors.demo.lowvoice import NUMBERS, pass_low_voice
from actors.measures import magnitudes

STEP = 50
"""Hz between tones, and latents a second."""
HALF = 4000
"""Hz: tones up to here are made directly, those up to twice as high mirrored at 8 kHz."""
LOWEST = 600
"""Hz: what lies below is the low band's own path."""
SCALE = 100.0
"""Amplitudes times this are what the first activation gives: 0.2 (loud) -> 20."""
LOUDER = 1.6
"""Tones of neighbouring frequencies partly cancel: measured on speech."""
AMPLIFIED = 40.0
"""The low band's amplitudes times this are latents."""
LOW_LATENTS = 2 * PATCH_BANDS
"""The latents in front of the amplitudes: two log-mel patches."""
TAPS = 3
"""Latents, the newest included, that the least-squares fit sees."""


def tones() -> list[tuple[int, int, int, int]]:
    """Above the low band: (band 0 or 1, c, b, a), tone 2000 c + 400 b + 50 a Hz of the direct or the mirrored band."""
    found = []
    for band in (0, 1):
        for f in range(STEP if band else LOWEST, HALF + 1, STEP):
            c = round(f / 2000)
            b = round((f - 2000 * c) / 400)
            a = (f - 2000 * c - 400 * b) // STEP
            if abs(a) < 4:  # the outermost would come through as strongly 400 Hz away
                found.append((band, c, b, a))
    return found


def frequencies() -> list[int]:
    """Hz of every tone."""
    direct = [(band, 2000 * c + 400 * b + STEP * a) for band, c, b, a in tones()]
    return [2 * HALF - f if band else f for band, f in direct]


def wanted(wave: torch.Tensor) -> torch.Tensor:
    """wave [B, T] -> [B, tones, T / 480], what the stack's first convolution should give.

    Its activation u + sin^2(0.2 u) / 0.04 is about u + u^2: the wanted amplitude's root, which a linear map reaches.
    """
    amplitudes = magnitudes(wave, 480, 480)[..., 1:]  # latent i ends with sample 480 (i + 1)
    scaled = 0.7 * SCALE * amplitudes[:, [f // 50 for f in frequencies()]]  # 0.7: neighbours hear the same energy
    return ((1 + 4 * scaled).sqrt() - 1) / 2


def _mix(module: Any, pairs: dict[tuple[int, int], tuple[int, float]], rate: int, gain: float = 1.0) -> None:
    """Transposed convolution: (input, output channel) -> (carrier in multiples of `rate`, phase), interpolating."""
    weight, stride = module.conv.weight, module.conv.stride[0]
    ramp = (torch.arange(stride) + 0.5) / stride
    slopes = gain * torch.cat([ramp, 1 - ramp])
    turns = torch.arange(2 * stride) / stride
    weight.mul_(0.05)
    weight[: 1 + max(i for i, _ in pairs), : 1 + max(o for _, o in pairs)] = 0
    for (source, target), (carrier, phase) in pairs.items():
        weight[source, target] = slopes * torch.cos(2 * math.pi * carrier / rate * turns + phase)


def _complex(source: int, target: int, carrier: int) -> dict[tuple[int, int], tuple[int, float]]:
    """Complex channel (2 i, 2 i + 1) times a carrier -> complex channel."""
    quarter = math.pi / 2
    return {
        (2 * source, 2 * target): (carrier, 0.0),
        (2 * source + 1, 2 * target): (carrier, quarter),
        (2 * source, 2 * target + 1): (carrier, -quarter),
        (2 * source + 1, 2 * target + 1): (carrier, 0.0),
    }


def _groups() -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """The complex channels behind the first and the second transposed convolution: (band, c, b), (band, c)."""
    middle = sorted({(band, c, b) for band, c, b, _ in tones()})
    return middle, sorted({(band, c) for band, c, _ in middle})


def firsts() -> tuple[int, ...]:
    """The low band's first channel behind each convolution: the bank of tones has those before it."""
    middle, top = _groups()
    return len(tones()), 2 * len(middle), 2 * len(top), 4, 1


@torch.no_grad()
def set_bank(decoder: Any) -> None:
    """Set `decoder.decoder` but its first convolution: the bank of tones, and beside it the low band's path."""
    _, *blocks, last_act, last = decoder.decoder
    mid, top = _groups()
    stages: list[dict[tuple[int, int], tuple[int, float]]] = [{}, {}, {}, {}]
    for index, (band, c, b, a) in enumerate(tones()):
        phase = 2 * math.pi * ((index * 0.618034) % 1)  # spread, so that the tones do not pulse together
        group = mid.index((band, c, b))
        stages[0] |= {(index, 2 * group): (50 * a, phase), (index, 2 * group + 1): (50 * a, phase - math.pi / 2)}
    for group, (band, c, b) in enumerate(mid):
        stages[1] |= _complex(group, top.index((band, c)), 400 * b)
    for group, (band, c) in enumerate(top):
        stages[2] |= _complex(group, band, 2000 * c)
    stages[3] = {(0, 0): (0, 0.0), (2, 0): (8000, 0.0), (3, 0): (8000, -math.pi / 2)}
    for block, pairs, rate, gain in zip(blocks, stages, (50, 400, 2000, 8000), (0.1, 1.0, 1.0, 1.0), strict=True):
        act, mixer, *units = block.block
        alpha, beta = (0.2, 0.04) if rate == STEP else (0.1, 0.1)  # the first one squares, the others hardly bend
        act.alpha.fill_(math.log(alpha))
        act.beta.fill_(math.log(beta))
        _mix(mixer, pairs, rate, gain)
        for unit in units:
            unit.conv2.conv.weight.mul_(0.1)
    last_act.alpha.fill_(math.log(0.1))
    last_act.beta.fill_(math.log(0.1))
    last.conv.weight.mul_(0.05)
    last.conv.weight[0, 0] = (
        torch.tensor([0, 0, 0, 0, 0.25, 0.5, 0.25]) * LOUDER * 10 / SCALE
    )  # little above 8 kHz passes
    pass_low_voice(decoder.decoder, firsts())


@torch.no_grad()
def start_vocoder(decoder: Any, features: torch.Tensor, wave: torch.Tensor) -> None:
    """Fit the first convolution of the bank that is set to latents [B, D, N] of waves [B, 480 N].

    The low band's amplitudes, times AMPLIFIED, are the latents from PATCH_BANDS * 2 on.
    """
    first, begin = decoder.decoder[0], firsts()[0]
    _fit(first, features, wanted(wave))
    low = slice(begin, begin + NUMBERS)
    first.conv.weight[low] = 0
    first.conv.bias[low] = 0
    first.conv.weight[range(begin, begin + NUMBERS), range(LOW_LATENTS, LOW_LATENTS + NUMBERS), -1] = 1 / AMPLIFIED


def _fit(first: Any, features: torch.Tensor, target: torch.Tensor) -> None:
    """Least squares from the last TAPS latents to `target` [B, tones, N], into the stack's first convolution."""
    shifted = [F.pad(features, (tap, 0))[..., : features.shape[-1]] for tap in reversed(range(TAPS))]
    seen = torch.stack(shifted, -1).transpose(1, 2).flatten(0, 1).flatten(1)  # [B N, D TAPS]
    seen = torch.cat([seen, torch.ones(len(seen), 1, device=seen.device)], 1)
    answer = target.transpose(1, 2).flatten(0, 1)
    square = seen.T @ seen
    square += 1e-3 * square.diagonal().mean() * torch.eye(len(square), device=square.device)
    solution = torch.linalg.solve(square, seen.T @ answer).T
    count = len(solution)
    first.conv.weight.mul_(0.1)
    first.conv.weight[:count] = 0
    first.conv.weight[:count, :, -TAPS:] = solution[:, :-1].reshape(count, -1, TAPS)
    first.conv.bias[:count] = solution[:, -1]
