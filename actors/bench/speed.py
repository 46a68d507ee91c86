"""A checkpoint -> times real time of encoding and decoding: batch sizes, accelerations, lengths of a call; lengths that
were never seen against the same ones again."""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

from actors.bench.audio import codes_like, fresh_clips
from actors.bench.compare import Arrays, seconds_of
from actors.bench.limits import timed
from actors.bench.subject import PARTS, Size, Subject, keep
from actors.codec import Codec

DEFAULT = "default"
"""What a user gets who sets nothing: gates are about this setup."""


ROUNDS = 2
"""Visits to each setup, in turns: a shared machine is slow for seconds at a time, and one visit takes no longer."""


def speed(subject: Subject, size: Size) -> dict[str, Any]:
    """{part: {setup: figures}}; setups that cannot run here are in "left_out"."""
    figures: dict[str, Any] = {"left_out": {}}
    for part in PARTS:
        visits: list[dict[str, Any]] = [{} for _ in range(ROUNDS)]
        left_out: dict[str, str] = {}
        for number, found in enumerate(visits):
            for name, call_s, options in setups(size):
                seeds = range(1 + number * size.calls, 1 + (number + 1) * size.calls)
                keep(found, name, left_out, partial(visit, subject, part, (call_s, size.longest_s), seeds, options))
        figures[part] = {name: row([found[name] for found in visits]) for name in visits[0] if name not in left_out}
        figures["left_out"] |= {f"{part}: {name}": why for name, why in left_out.items()}
    return figures


def setups(size: Size) -> list[tuple[str, float, dict[str, Any]]]:
    """Name, seconds of a call, options of Codec.load: one thing differs from the default in each."""
    usual, *longer = size.call_s
    found: list[tuple[str, float, dict[str, Any]]] = [(DEFAULT, usual, {})]
    found += [(f"calls of {call_s:g} s", call_s, {}) for call_s in longer]
    found += [(f"{batch} tiles at once", usual, {"tile_batch": batch}) for batch in size.batches]
    return found + [(f"accelerate {how}", usual, {"accelerate": how}) for how in size.accelerations]


def visit(
    subject: Subject, part: str, lengths_s: tuple[float, float], seeds: Sequence[int], options: dict[str, Any]
) -> dict[str, Any]:
    """A codec loaded once: times real time of a call for each seed, "fresh" of lengths never seen, "again" of the same.

    `lengths_s`: of a call, and of its longest clip.
    """
    codecs: list[Codec] = []
    load_s = timed(subject.device, lambda: codecs.append(subject.load(parts=part, **options)))
    codec, run = codecs[0], getattr(codecs[0], part)
    first_s = timed(subject.device, partial(run, items_of(codec, part, lengths_s, 0)))
    found: dict[str, Any] = {"load_s": load_s, "first_call_s": first_s, "fresh": [], "again": []}
    for seed in seeds:
        items = items_of(codec, part, lengths_s, seed)
        times = [timed(subject.device, partial(run, items)) for _ in range(3)]
        found["fresh"].append(seconds_of(part, items) / times[0])
        found["again"].append(
            seconds_of(part, items) / statistics.median(times[1:])
        )  # not the best: `fresh` is one try
    return found


def row(visits: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over the calls of all visits: `times_real` of lengths never seen, `again` of the same lengths once more.
    What a start takes is the first visit's: later ones find kernels that were built."""
    fresh, again = ([speed for one in visits for speed in one[key]] for key in ("fresh", "again"))
    figures = {"times_real": statistics.median(fresh), "again": statistics.median(again)}
    figures["fresh_to_again"] = statistics.median(one / other for one, other in zip(fresh, again, strict=True))
    return figures | {key: visits[0][key] for key in ("load_s", "first_call_s")}


def items_of(codec: Codec, part: str, lengths_s: tuple[float, float], seed: int) -> Arrays:
    """Waves to encode, or codes to decode, of as many seconds together, and at most as many each."""
    waves = fresh_clips(lengths_s[0], seed, lengths_s[1])
    return waves if part == "encode" else codes_like(waves, codec.codebook_size, seed)
