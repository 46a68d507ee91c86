"""SIGTERM -> this program unwinds: what it started ends, and its temporary folders go."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit with the exit code that shells give it, 143; outside the main thread nothing
    changes, for only that one is told of signals.

    By default it ends a process at once: processes with a session of their own, and gigabytes of weights in a
    temporary folder, would stay. A handler of Ray's, set as it starts, prints a stack of its C++ side first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
