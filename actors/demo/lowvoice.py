"""The waveform stack -> the same with a linear path beside the bank of tones: complex amplitudes -> the low band.

Twenty-four frequencies, 25 Hz apart, each with a real and an imaginary amplitude that the transposed convolutions
interpolate: 48 numbers each 20 ms sound any wave below 600 Hz. `amplitudes` finds them, frame after frame.
"""

import math
from typing import Any

import torch

from actors.contract import FRAME_SAMPLES
from actors.demo.held import hold_part
from actors.demo.lowband import lowpass

FREQUENCIES = range(25, 601, 25)
"""Hz, all of them carried by the first transposed convolution."""
CENTRES = (100, 300, 500)
"""Hz, carried by the second one: groups of eight frequencies."""
NUMBERS = 2 * len(FREQUENCIES)
"""Amplitudes each 20 ms."""
WIDTHS = (NUMBERS, 2 * len(CENTRES), 2, 1, 1)
"""Channels of the path behind each convolution of the stack."""
STEP = 480
"""Samples between amplitudes."""


def _carry(weight: torch.Tensor, source: int, target: int, hertz: float, rate: int) -> None:
    """Complex channel (source, source + 1), interpolated, times a carrier -> (target, target + 1) at `rate` Hz."""
    stride = weight.shape[2] // 2
    ramp = (torch.arange(stride) + 0.5) / stride
    angle = 2 * math.pi * hertz / rate * (torch.arange(2 * stride) + 0.5 - stride)
    cosine, sine = (torch.cat([ramp, 1 - ramp]) * wave for wave in (angle.cos(), angle.sin()))
    weight[source, target], weight[source + 1, target] = cosine, -sine
    weight[source, target + 1], weight[source + 1, target + 1] = sine, cosine


@torch.no_grad()
def pass_low_voice(stack: Any, firsts: tuple[int, ...]) -> None:
    """Set the path, which begins at channel firsts[i] behind convolution i; nothing else comes in or goes out."""
    _, *blocks, last_act, last = stack
    for index, block in enumerate(blocks):
        act, mixer, *units = block.block
        into = slice(firsts[index], firsts[index] + WIDTHS[index])
        out = slice(firsts[index + 1], firsts[index + 1] + WIDTHS[index + 1])
        act.alpha[into], act.beta[into] = math.log(0.02), 0.0  # x + sin^2(0.02 x): hardly bends
        mixer.conv.weight[into] = 0
        mixer.conv.weight[:, out] = 0
        for unit in units:
            unit.conv2.conv.weight[out] = 0
    weights = [block.block[1].conv.weight for block in blocks]
    for index, hertz in enumerate(FREQUENCIES):
        group = min(index // (len(FREQUENCIES) // len(CENTRES)), len(CENTRES) - 1)
        _carry(weights[0], firsts[0] + 2 * index, firsts[1] + 2 * group, hertz, 400)
    for group, hertz in enumerate(CENTRES):
        _carry(weights[1], firsts[1] + 2 * group, firsts[2], hertz, 2_000)
    middle = torch.zeros(2, 2, weights[2].shape[2])
    _carry(middle, 0, 0, CENTRES[1], 8_000)
    weights[2][firsts[2] : firsts[2] + 2, firsts[3]] = middle[:, 0]
    plain = torch.zeros(2, 2, weights[3].shape[2])
    _carry(plain, 0, 0, 0, 24_000)
    weights[3][firsts[3], firsts[4]] = plain[0, 0]
    last_act.alpha[firsts[4]], last_act.beta[firsts[4]] = math.log(0.02), 0.0
    last.conv.weight[0, firsts[4]] = 0
    last.conv.weight[0, firsts[4], -1] = 1


def hold_low_voice(stack: Any, firsts: tuple[int, ...]) -> None:
    """No gradient for what comes into the path's channels: the bank is a hundred times louder and would drown it."""
    first, *blocks, last_act, last = stack
    held = [(first.conv.weight, 0, 0), (first.conv.bias, 0, 0), (last.conv.weight, 1, 4)]
    held += [(last_act.alpha, 0, 4), (last_act.beta, 0, 4)]
    for index, block in enumerate(blocks):
        act, mixer, *units = block.block
        held += [(act.alpha, 0, index), (act.beta, 0, index)]
        held += [(mixer.conv.weight, 1, index + 1), (mixer.conv.bias, 0, index + 1)]
        for unit in units:
            held += [(unit.conv2.conv.weight, 0, index + 1), (unit.conv2.conv.bias, 0, index + 1)]
    for parameter, axis, place in held:
        hold_part(parameter, axis, firsts[place], WIDTHS[place])


@torch.no_grad()
def _atoms(stack: Any, first: int) -> torch.Tensor:
    """What each amplitude sounds like: [NUMBERS, 4 STEP], from its own step on."""
    blocks = stack[1:]
    device = blocks[-1].conv.weight.device
    amplitudes = torch.zeros(NUMBERS + 1, blocks[0].block[0].alpha.shape[0], 8, device=device)
    amplitudes[range(NUMBERS), range(first, first + NUMBERS), 4] = 0.1
    for block in blocks:
        amplitudes = block(amplitudes)
    waves = amplitudes[:, 0, 4 * STEP :]
    return 10 * (waves[:-1] - waves[-1:])


@torch.no_grad()
def amplitudes(stack: Any, first: int, wave: torch.Tensor) -> torch.Tensor:
    """Waves [B, T] -> the low band's amplitudes [B, T / STEP, NUMBERS], each frame's fitted to what the last ones left.

    Least squares on the frame's own samples: the codes of a frame cannot know the next one.
    """
    atoms = _atoms(stack, first)
    steps = FRAME_SAMPLES // STEP
    shifted = torch.zeros(steps, NUMBERS, 2 * FRAME_SAMPLES, device=wave.device)
    for step in range(steps):
        shifted[step, :, step * STEP : (step + 4) * STEP] = atoms
    here, later = shifted[..., :FRAME_SAMPLES], shifted[..., FRAME_SAMPLES:]
    here, later = here.flatten(0, 1), later.flatten(0, 1)
    square = here @ here.T
    square += 3e-3 * square.diagonal().mean() * torch.eye(len(square), device=wave.device)
    frames = lowpass(wave).reshape(len(wave), -1, FRAME_SAMPLES)
    found = [torch.zeros(len(wave), len(square), device=wave.device)]
    for index in range(frames.shape[1]):
        left = frames[:, index] - found[-1] @ later
        found.append(torch.linalg.solve(square, here @ left.T).T)
    return torch.stack(found[1:], 1).reshape(len(wave), -1, NUMBERS)
