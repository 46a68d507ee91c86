"""A model and clips -> speed, memory and agreement of upstream and of this engine, side by side. Runs without Ray.

    python -m actors.bench --model full-size --audio CLIPS

Upstream runs clip by clip, and in lists of 32; the engine runs over all clips at once. All variants are timed in one
process, in turns; times are medians over the rounds. Peaks of host memory are measured in a separate process each.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.bench.audio import made_clips, read_clips
from actors.bench.limits import copy_rate, flops, launches, product_rate, timed
from actors.bench.peak import peak_in_own_process
from actors.bench.variants import (
    CLIP_BY_CLIP,
    IN_LISTS,
    Arrays,
    Variant,
    all_variants,
    default_precisions,
    model_folder,
    padded,
)
from actors.contract import FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE
from actors.device import PRECISIONS, choose_device, memory, reset_peak
from actors.errors import DeviceOutOfMemory

DECODE_S = 60.0
"""Seconds of audio that are decoded: decoding takes ten times the work of encoding."""
COUNTED_S = 4
"""Seconds of audio for which FLOP are counted; attention over longer audio adds little."""


def run_bench(
    model: str = "full-size",
    device: str = "auto",
    precisions: Sequence[str] = (),
    audio: str | None = None,
    *,
    rounds: int = 3,
    clips: int = 32,
    peaks: bool = True,
) -> dict[str, Any]:
    """The figures of every variant; `table` prints them.

    `model`: "full-size" (the official sizes, seeded random weights), or as in Codec.load. `precisions`: fp32, fp16,
    bf16, each also with an acceleration (fp16/graphs); none: `default_precisions`. `audio`: a folder of audio files, of
    which the first `clips` are used; None: synthetic signals. `peaks`: measure memory too, which on a CPU takes another
    process for every variant. Raises InputError, ModelError, DeviceError.
    """
    place = choose_device(device)
    waves = made_clips(clips) if audio is None else read_clips(Path(audio), clips)
    with model_folder(model) as folder:
        wanted = list(precisions) or default_precisions(place)
        variants, left_out = all_variants(folder, place, wanted, max(map(len, waves)))
        truth = variants[0].run("encode", [padded(wave) for wave in waves])
        codes = first_seconds(truth, DECODE_S)
        compared = {"encode": (waves, truth), "decode": (codes, variants[0].run("decode", codes))}
        figures = {part: race(variants, part, pair, (place, rounds), left_out) for part, pair in compared.items()}
        del variants
        for part, rows in figures.items() if peaks and place.type == "cpu" else ():
            for name, row in rows.items():
                row["peak_bytes"] = peak_in_own_process(folder, part, name, compared[part][0])
    return {
        "model": model,
        "date": date.today().isoformat(),
        "machine": machine(place),
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

    A variant that cannot run here (memory, no compiler) is noted in `left_out`.
    """
    (items, truth), (device, rounds) = compared, how
    figures: dict[str, dict[str, Any]] = {}
    for one in variants:  # a warm-up that is not timed; its results are compared
        reset_peak(device)
        try:
            figures[one.name] = equality(part, one.run(part, items), truth)
        except (RuntimeError, DeviceOutOfMemory) as error:
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


def equality(part: str, results: Arrays, truth: Arrays) -> dict[str, float]:
    """Codes: share of equal codes, of all codebooks and of codebook 0. Waves: signal-to-error ratio in dB."""
    found, expected = np.concatenate(results), np.concatenate(truth)
    if part == "encode":
        same = found == expected
        return {"equal": float(same.mean()), "equal_first": float(same[:, 0].mean())}
    error = np.square(found - expected, dtype=np.float64).sum()
    return {"decibels": float(10 * np.log10(np.square(expected, dtype=np.float64).sum() / max(error, 1e-30)))}


def first_seconds(codes: Arrays, seconds: float) -> Arrays:
    """The first clips that together hold `seconds` of audio; at least one clip."""
    held = np.cumsum([len(one) for one in codes]) / FRAME_RATE
    return codes[: 1 + int(np.searchsorted(held, seconds))]


def seconds_of(part: str, items: Arrays) -> float:
    """Seconds of audio that waves or codes hold."""
    return sum(map(len, items)) / (SAMPLE_RATE if part == "encode" else FRAME_RATE)


def machine(device: torch.device) -> dict[str, Any]:
    """Device, threads and versions that the figures depend on."""
    found = {"device": str(device), "threads": torch.get_num_threads(), "torch": torch.__version__, "cpu": _cpu_name()}
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {torch.backends.cpu.get_cpu_capability()}" if names else platform.processor()


def table(result: dict[str, Any]) -> str:
    """The figures as two Markdown tables, and the variants that were left out."""
    parts = ["\n".join(_lines(part, rows)) for part, rows in result["figures"].items()]
    return "\n\n".join([*parts, *[f"Left out: {name}: {why}" for name, why in result["left_out"].items()]])


def _lines(part: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    compared = ["equal codes", "of codebook 0"] if part == "encode" else ["dB to upstream"]
    titles = [part, "x real time", "vs lists", "vs clip by clip", "GFLOP/s", "of a product", *compared, "peak memory"]
    titles += ["launches", "of copy rate"] if any("launches" in row for row in rows.values()) else []
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for name, row in rows.items():
        speed = row["times_real"]
        others = [rows.get(other, {}).get("times_real") for other in (IN_LISTS, CLIP_BY_CLIP)]
        ratios = ["" if other is None else f"{speed / other:.2f}x" for other in others]
        rate = [f"{row['flops'] / 1e9:,.0f}", f"{row['flops'] / row['product_flops']:.0%}"]
        same = [f"{row[key]:.2%}" for key in ("equal", "equal_first") if key in row] or [f"{row['decibels']:.0f}"]
        peak = f"{row['peak_bytes'] / 2**30:.2f} GiB" if "peak_bytes" in row else ""
        more = [f"{row['launches']:,}", f"{row['copied_bytes'] / row['copy_bytes']:.1%}"] if "launches" in row else []
        lines.append("| " + " | ".join([name, f"{speed:,.1f}", *ratios, *rate, *same, peak, *more]) + " |")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="full-size", help="full-size (seeded random weights), a folder, a hub id")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", action="append", default=[], help="may be repeated; also fp16/graphs, ...")
    parser.add_argument("--audio", help="a folder of audio files; synthetic signals by default")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--no-peaks", action="store_true", help="do not measure host memory")
    given = parser.parse_args()
    counts = {"rounds": given.rounds, "clips": given.clips, "peaks": not given.no_peaks}
    result = run_bench(given.model, given.device, given.precision, given.audio, **counts)
    print(table(result))
    if given.json:
        Path(given.json).write_text(json.dumps(result, indent=2) + "\n")
