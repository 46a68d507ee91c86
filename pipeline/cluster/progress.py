"""What a run is doing: counts from the workers -> a progress bar in a terminal or notebook; in a log, plain lines.

A log has a line at the start of each phase (start, plan, read, finish) and one every LOG_EVERY_S, even where nothing
moves: who reads it sees that the run lives.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actors.contract import SAMPLE_RATE

LOG_EVERY_S = 30.0


@dataclass(frozen=True)
class Counts:
    """What the last pool has finished so far. A retried block counts twice here; only the parts are exact."""

    recordings: int = 0
    samples: int = 0  # at 24 kHz
    failures: int = 0


@contextlib.contextmanager
def phase(name: str, quiet: bool = False) -> Iterator[None]:
    """While inside, a log says so; a terminal shows nothing, for the phases beside "read" are short there."""
    if quiet or _interactive():
        yield
        return
    start = time.monotonic()
    _say(name)
    with _beside(_log, name, lambda: f"{time.monotonic() - start:.0f} s so far"):
        yield


@contextlib.contextmanager
def watch(ask: Callable[[], Counts], total: int | None, quiet: bool = False) -> Iterator[None]:
    """While inside, show the counts that `ask` returns; `total`: the number of recordings, None if it is unknown."""
    if quiet:
        yield
        return
    if _interactive():
        with _beside(_show_bar, ask, total):
            yield
        return
    start = time.monotonic()

    def counts() -> str:
        found = ask()
        of = f" of {total:,}" if total is not None else ""
        return f"{found.recordings + found.failures:,}{of} recordings, {_describe(found, start)}"

    _say("read")
    with _beside(_log, "read", counts):
        yield


@contextlib.contextmanager
def _beside(show: Callable[..., None], *arguments: object) -> Iterator[None]:
    """`show(*arguments, stop)` in a thread until the end."""
    stop = threading.Event()
    thread = threading.Thread(target=show, args=(*arguments, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _say(what: str) -> None:
    print(f"voxmill: {what}", file=sys.stderr, flush=True)


def _log(name: str, state: Callable[[], str], stop: threading.Event) -> None:
    while not stop.wait(LOG_EVERY_S):
        _say(f"{name}: {state()}")


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


def _describe(counts: Counts, start: float) -> str:
    audio_s = counts.samples / SAMPLE_RATE
    speed = audio_s / max(time.monotonic() - start, 1e-9)
    return f"{audio_s / 3600:.2f} h audio, {speed:.1f}x real time, {counts.failures} failures"
