"""SIGTERM -> this program unwinds: what it started ends, and its temporary folders go."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Inside, in the main thread, SIGTERM raises SystemExit with the exit code that shells give it, 143.

    By default it ends a process at once: processes with a session of their own, and gigabytes of weights in a
    temporary folder, would stay.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
