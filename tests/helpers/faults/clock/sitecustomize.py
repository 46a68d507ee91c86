"""A clock that jumps, for every Python that finds this on its PYTHONPATH: a driver's, and those of its Ray's workers.

$CLOCK_OFFSETS_S lists seconds, "0,86400,-86400" say; every half second and in every process another one is added to
what `time.time` tells. Monotonic clocks go on as they do in real life; the type `datetime` is left alone, for C
extensions hold on to it.
"""

import os
import time

SLOT_S = 0.5
OFFSETS_S = [float(text) for text in os.environ.get("CLOCK_OFFSETS_S", "0").split(",")]

_time, _time_ns = time.time, time.time_ns


def _offset_s() -> float:
    slot = int(time.monotonic() / SLOT_S)
    return OFFSETS_S[hash((slot, os.getpid())) % len(OFFSETS_S)]


def jumping() -> float:
    """`time.time`, under a name of its own: Ray sends the function to workers by name."""
    return _time() + _offset_s()


def jumping_ns() -> int:
    """`time.time_ns`."""
    return _time_ns() + round(_offset_s() * 1e9)


time.time, time.time_ns = jumping, jumping_ns
