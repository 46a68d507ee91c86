"""Counts from the workers -> a progress bar in a terminal or notebook, plain lines in a log."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from actors.contract import SAMPLE_RATE

LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class Counts:
    """What the last pool has finished so far. A retried block counts twice here; only the parts are exact."""

    recordings: int = 0
    samples: int = 0  # at 24 kHz
    failures: int = 0


@dataclass
class Tally:
    """Sums counts, in an actor of its own: the pools add, the driver reads."""

    counts: Counts = field(default_factory=Counts)

    def add(self, recordings: int, samples: int, failures: int) -> None:
        """Called by the pools after every block."""
        now = self.counts
        self.counts = Counts(now.recordings + recordings, now.samples + samples, now.failures + failures)

    def get(self) -> Counts:
        """Called by the driver."""
        return self.counts


@contextlib.contextmanager
def watch(ask: Callable[[], Counts], total: int | None, quiet: bool = False) -> Iterator[None]:
    """While inside, show the counts that `ask` returns; `total`: the number of recordings, None if it is unknown."""
    if quiet:
        yield
        return
    stop = threading.Event()
    show = _show_bar if _interactive() else _show_lines
    thread = threading.Thread(target=show, args=(ask, total, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _show_bar(ask: Callable[[], Counts], total: int | None, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"), TimeRemainingColumn())
    console = Console(stderr="ipykernel" not in sys.modules)
    start = time.monotonic()
    with Progress(TextColumn("recordings"), *columns, console=console, refresh_per_second=4) as progress:
        bar = progress.add_task("", total=total, rest="starting")
        while not stop.wait(0.25):
            counts = ask()
            progress.update(bar, completed=counts.recordings + counts.failures, rest=_describe(counts, start))
        counts = ask()
        progress.update(bar, completed=counts.recordings + counts.failures, rest=_describe(counts, start))


def _show_lines(ask: Callable[[], Counts], total: int | None, stop: threading.Event) -> None:
    start = time.monotonic()
    last = Counts()
    while not stop.wait(LOG_EVERY_S):
        counts = ask()
        if counts != replace(last):
            done = counts.recordings + counts.failures
            of = f" of {total}" if total else ""
            print(f"voxmill: {done}{of} recordings, {_describe(counts, start)}", file=sys.stderr, flush=True)
            last = counts


def _describe(counts: Counts, start: float) -> str:
    audio_s = counts.samples / SAMPLE_RATE
    speed = audio_s / max(time.monotonic() - start, 1e-9)
    return f"{audio_s / 3600:.2f} h audio, {speed:.1f}x real time, {counts.failures} failures"
