"""A checkpoint -> times real time of encoding and decoding: batch sizes, accelerations, lengths of a call; lengths that
were never seen against the same ones again."""

import statistics
from functools import partial
from typing import Any

from actors.bench.audio import codes_like, fresh_clips
from actors.bench.compare import Arrays, seconds_of
from actors.bench.limits import timed
from actors.bench.subject import PARTS, Size, Subject, keep
from actors.codec import Codec

DEFAULT = "default"
"""What a user gets who sets nothing: gates are about this setup."""


def speed(subject: Subject, size: Size) -> dict[str, Any]:
    """{part: {setup: figures}}; setups that cannot run here are in "left_out"."""
    figures: dict[str, Any] = {"left_out": {}}
    for part in PARTS:
        figures[part] = {}
        left_out: dict[str, str] = {}
        for name, call_s, options in setups(size):
            keep(figures[part], name, left_out, partial(row, subject, part, call_s, size, options))
        figures["left_out"] |= {f"{part}: {name}": why for name, why in left_out.items()}
    return figures


def setups(size: Size) -> list[tuple[str, float, dict[str, Any]]]:
    """Name, seconds of a call, options of Codec.load: one thing differs from the default in each."""
    usual, *longer = size.call_s
    found: list[tuple[str, float, dict[str, Any]]] = [(DEFAULT, usual, {})]
    found += [(f"calls of {call_s:g} s", call_s, {}) for call_s in longer]
    found += [(f"{batch} tiles at once", usual, {"tile_batch": batch}) for batch in size.batches]
    return found + [(f"accelerate {how}", usual, {"accelerate": how}) for how in size.accelerations]


def row(subject: Subject, part: str, call_s: float, size: Size, options: dict[str, Any]) -> dict[str, float]:
    """Medians over calls: `times_real` of lengths never seen, `again` of the same lengths once more."""
    codecs: list[Codec] = []
    load_s = timed(subject.device, lambda: codecs.append(subject.load(parts=part, **options)))
    codec, run = codecs[0], getattr(codecs[0], part)
    first_s = timed(subject.device, partial(run, items_of(codec, part, call_s, size, 0)))
    fresh, again = [], []
    for seed in range(1, size.calls + 1):
        items = items_of(codec, part, call_s, size, seed)
        times = [timed(subject.device, partial(run, items)) for _ in range(3)]
        fresh.append(seconds_of(part, items) / times[0])
        again.append(seconds_of(part, items) / min(times[1:]))
    figures = {"times_real": statistics.median(fresh), "again": statistics.median(again)}
    figures["fresh_to_again"] = statistics.median(one / other for one, other in zip(fresh, again, strict=True))
    return figures | {"load_s": load_s, "first_call_s": first_s}


def items_of(codec: Codec, part: str, call_s: float, size: Size, seed: int) -> Arrays:
    """Waves to encode, or codes to decode, of together `call_s`."""
    waves = fresh_clips(call_s, seed, size.longest_s)
    return waves if part == "encode" else codes_like(waves, codec.codebook_size, seed)
