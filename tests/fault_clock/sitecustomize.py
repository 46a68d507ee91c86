"""A clock that jumps, for every Python that finds this on its PYTHONPATH.

$CLOCK_OFFSETS_S lists seconds, "0,86400,-86400" say; every half second and in every process another one is added to
what `time.time` and `datetime.now` tell. Monotonic clocks go on as they do in real life.
"""

import datetime
import os
import time
from typing import Any

SLOT_S = 0.5
OFFSETS_S = [float(text) for text in os.environ.get("CLOCK_OFFSETS_S", "0").split(",")]

_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


def _offset_s() -> float:
    slot = int(time.monotonic() / SLOT_S)
    return OFFSETS_S[hash((slot, os.getpid())) % len(OFFSETS_S)]


class _AnyDatetime(type):
    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, _datetime)

    def __subclasscheck__(cls, one: type) -> bool:
        return issubclass(one, _datetime)


class _Jumping(_datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return cls.now(datetime.UTC).replace(tzinfo=None)


_Jumping.__name__ = _Jumping.__qualname__ = "datetime"  # so that it is pickled by that name
_Jumping.__module__ = "datetime"
time.time = lambda: _time() + _offset_s()
time.time_ns = lambda: _time_ns() + round(_offset_s() * 1e9)
datetime.datetime = _Jumping  # type: ignore[misc]
