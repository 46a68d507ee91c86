"""A checkpoint -> how fast blocks of audio must arrive to keep the device busy, and so how many cores must read.

The reader is simulated: a thread hands over blocks that are ready, at a given rate. What is measured is the encoder.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from actors.bench.compare import Arrays, seconds_of
from actors.bench.speed import items_of
from actors.bench.subject import Size, Subject

CORE_RATES = (100.0, 300.0, 1000.0)
"""Times real time at which one core reads and resamples: what `cores` answers for. Given, not measured."""
SHARES = (0.5, 0.8, 1.0, 1.25, 1.5)
"""Rates of arrival that are tried, as shares of the encoder's own speed."""
WAITING = 4
"""Blocks that may wait for the encoder before the reader pauses."""
ENOUGH = 0.95
"""Share of the encoder's own speed at which the reader counts as fast enough."""


def reader(subject: Subject, size: Size) -> dict[str, Any]:
    """`tried`: rate of arrival -> speed reached, both times real time. `needed`: the least rate that is enough."""
    codec = subject.load(parts="encode")
    blocks = [items_of(codec, "encode", (size.call_s[0], size.longest_s), seed) for seed in range(size.blocks)]
    codec.encode(blocks[0])
    alone = fed(codec.encode, blocks, math.inf)
    tried = {share * alone: fed(codec.encode, blocks, share * alone) for share in SHARES}
    needed = enough(tried, alone)
    cores = {f"{rate:g}": None if needed is None else math.ceil(needed / rate) for rate in CORE_RATES}
    return {"alone": alone, "tried": [list(one) for one in tried.items()], "needed": needed, "cores": cores}


def fed(call: Callable[[Arrays], object], blocks: Sequence[Arrays], rate: float) -> float:
    """Times real time at which `call` works off `blocks` that arrive at `rate`; from the end of the first one on."""
    waiting: queue.Queue[Arrays] = queue.Queue(WAITING)

    def read() -> None:
        due = time.monotonic()
        for block in blocks:
            due += seconds_of("encode", block) / rate
            time.sleep(max(0.0, due - time.monotonic()))
            waiting.put(block)

    threading.Thread(target=read, daemon=True).start()
    call(waiting.get())
    start = time.monotonic()
    for _ in blocks[1:]:
        call(waiting.get())
    return sum(seconds_of("encode", block) for block in blocks[1:]) / (time.monotonic() - start)


def enough(tried: dict[float, float], alone: float) -> float | None:
    """The least rate of arrival with which the encoder is nearly as fast as with all blocks at hand; None: none was."""
    return min((rate for rate, speed in tried.items() if speed >= ENOUGH * alone), default=None)
