"""A model and clips -> speed, memory and agreement of upstream and of this engine, side by side.

Upstream runs clip by clip, and in lists of 32; the engine runs over all clips at once. All variants are timed in one
process, in turns; times are medians over the rounds. Peaks of host memory are measured in a separate process each.
"""

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.bench.compare import Arrays, equality, first_seconds, padded, seconds_of
from actors.bench.limits import copy_rate, flops, launches, product_rate, timed
from actors.bench.peak import peak_in_own_process
from actors.bench.variants import Variant, all_variants
from actors.contract import FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE
from actors.device import PRECISIONS, exact, memory, reset_peak
from actors.errors import VoxmillError

DECODE_S = 60.0
"""Seconds of audio that are decoded: decoding takes ten times the work of encoding."""
COUNTED_S = 4
"""Seconds of audio for which FLOP are counted; attention over longer audio adds little."""


def beside_upstream(
    folder: Path, device: torch.device, precisions: Sequence[str], waves: Arrays, rounds: int, peaks: bool
) -> dict[str, Any]:
    """Figures of every variant for encoding `waves` and for decoding the first of them.

    `precisions`: also with an acceleration (fp16/graphs). `peaks`: measure memory too, which on a CPU takes another
    process for every variant.
    """
    variants, left_out = all_variants(folder, device, precisions, max(map(len, waves)))
    with exact():
        truth = variants[0].run("encode", [padded(wave) for wave in waves])
        codes = first_seconds(truth, DECODE_S)
        compared = {"encode": (waves, truth), "decode": (codes, variants[0].run("decode", codes))}
    figures = {part: race(variants, part, pair, (device, rounds), left_out) for part, pair in compared.items()}
    del variants
    for part, rows in figures.items() if peaks and device.type == "cpu" else ():
        for name, row in rows.items():
            row["peak_bytes"] = peak_in_own_process(folder, part, name, compared[part][0])
    return {
        "rounds": rounds,
        "encoded": {"clips": len(waves), "seconds": seconds_of("encode", waves)},
        "decoded": {"clips": len(codes), "seconds": seconds_of("decode", codes)},
        "left_out": left_out,
        "figures": figures,
    }


def race(
    variants: Sequence[Variant],
    part: str,
    compared: tuple[Arrays, Arrays],
    how: tuple[torch.device, int],
    left_out: dict[str, str],
) -> dict[str, dict[str, Any]]:
    """Figures of `part` (encode or decode) of each variant on `compared[0]`, run in turns for `how[1]` rounds.

    A variant that cannot run here (memory) is noted in `left_out`.
    """
    (items, truth), (device, rounds) = compared, how
    figures: dict[str, dict[str, Any]] = {}
    for one in variants:  # a warm-up that is not timed; its results are compared
        reset_peak(device)
        try:
            figures[one.name] = equality(part, one.run(part, items), truth)
        except (RuntimeError, VoxmillError) as error:
            left_out[f"{part}: {one.name}"] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if device.type == "cuda":
            figures[one.name] |= {"peak_bytes": memory(device)["device_peak"]}
            figures[one.name] |= {"launches": launches(partial(one.run, part, items))}
    running = [one for one in variants if one.name in figures]
    times: dict[str, list[float]] = {one.name: [] for one in running}
    for _ in range(rounds):
        for one in running:
            times[one.name].append(timed(device, partial(one.run, part, items)))
    audio_s, work = seconds_of(part, items), work_per_second(variants[0], part)
    for one in running:
        figures[one.name] |= rates(one, times[one.name], (audio_s, work), device)
    return figures


def rates(one: Variant, times: list[float], task: tuple[float, float], device: torch.device) -> dict[str, Any]:
    """Speed from `times` in seconds for a task of (seconds of audio, FLOP a second), and the device's peak rates."""
    speed = task[0] / statistics.median(times)
    row = {"times_real": speed, "seconds": times, "flops": speed * task[1]}
    row["product_flops"] = product_rate(device, PRECISIONS[one.precision])
    if device.type == "cuda":
        row |= {"copied_bytes": speed * SAMPLE_RATE * 4, "copy_bytes": copy_rate(device)}
    return row


def work_per_second(variant: Variant, part: str) -> float:
    """FLOP for one second of audio."""
    frames = round(COUNTED_S * FRAME_RATE)
    item = np.zeros(frames * FRAME_SAMPLES, np.float32) if part == "encode" else np.zeros((frames, 16), np.int16)
    return flops(partial(variant.run, part, [item])) / COUNTED_S
