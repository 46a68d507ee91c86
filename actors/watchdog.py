"""Work of which nothing is heard for too long -> its process says so and ends, so that the work is given to another.

A disk, a driver or a decoder may never answer, and no exception comes of that. A process has one watchdog: a thread
that looks at a time stamp. A native call that hangs while it holds the interpreter's lock stops that thread too; then
the timer of faulthandler, which needs no lock and which the thread sets anew each time it looks, ends the process.
"""

import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

EXIT_CODE = 75
"""Of a process that ends itself: EX_TEMPFAIL, try it again."""
STDERR = 2
LOOK_S = 1.0
"""Pause of the thread; less where the limit itself is shorter."""
GRACE_S = 10.0
"""How much later than the thread the timer fires."""

Note = Callable[[str], None]
"""Told why a process ends, just before."""


class _Watch:
    """The time stamp, and the limit that holds now."""

    def __init__(self) -> None:
        self.heard = math.inf  # time.monotonic() of the last sign of life; inf: nothing in hand
        self.stall_s = 0.0
        self.note: Note = lambda how: None
        self.started = False

    def look(self) -> None:
        """The thread's body."""
        while True:
            time.sleep(min(LOOK_S, self.stall_s / 4))
            faulthandler.dump_traceback_later(self.stall_s + GRACE_S, exit=True, file=STDERR)
            silent_s = time.monotonic() - self.heard
            if silent_s > self.stall_s:
                faulthandler.dump_traceback(STDERR, all_threads=True)
                leave(f"silent for {silent_s:.0f} s (stall_s is {self.stall_s:g})", self.note)


_watch = _Watch()


@contextmanager
def limited(stall_s: float, note: Note) -> Iterator[None]:
    """Inside, the process ends with EXIT_CODE where `stall_s` pass without a `beat`; 0: never. `note` hears of it."""
    if not stall_s:
        yield
        return
    _watch.stall_s, _watch.note, _watch.heard = stall_s, note, time.monotonic()
    if not _watch.started:
        _watch.started = True
        threading.Thread(target=_watch.look, daemon=True, name="watchdog").start()
    try:
        yield
    finally:
        _watch.heard = math.inf


def beat() -> None:
    """A sign of life, from whatever may take long: a block was read, decoded. Costs a tenth of a microsecond."""
    if _watch.heard != math.inf:
        _watch.heard = time.monotonic()


def leave(why: str, note: Note) -> NoReturn:
    """End this process, with a line on stderr."""
    print(f"voxmill: process {os.getpid()} ends itself: {why}", file=sys.stderr, flush=True)
    try:
        note(why)
    finally:
        os._exit(EXIT_CODE)
