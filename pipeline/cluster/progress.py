"""What a run is doing: counts from the workers -> a progress bar in a terminal or notebook; in a log, plain lines.

A notebook has one line for a run, from its first phase to its last counts. A log has a line at the start of each phase
(start, plan, read, finish) and one every LOG_EVERY_S, even where nothing moves: who reads it sees that the run lives.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from actors.contract import SAMPLE_RATE
from pipeline.errors import plural
from pipeline.log_line import log_line
from pipeline.notebook import Line, in_notebook

LOG_EVERY_S = 30.0
MOVE_EVERY_S = 0.25
_LINE: ContextVar[Line | None] = ContextVar("line", default=None)
"""What `one_line` shows; None where it does not apply."""


@dataclass(frozen=True)
class Finished:
    """What the last pool has finished so far. A retried block counts twice here; only the parts are exact."""

    recordings: int = 0
    samples: int = 0  # at 24 kHz
    failures: int = 0


@contextlib.contextmanager
def one_line(quiet: bool = False) -> Iterator[None]:
    """Inside, in a notebook, phases and counts share one line of the cell's output; it ends with the last counts, and
    what became of them."""
    line, start = Line() if in_notebook() and not quiet else None, time.monotonic()
    before = _LINE.set(line)
    ended = "ended by an error"
    try:
        yield
        ended = f"done in {time.monotonic() - start:.0f} s"
    except KeyboardInterrupt:
        ended = "stopped; what is committed is kept, the same call without overwrite goes on"
        raise
    finally:
        _LINE.reset(before)
        if line:
            nothing = "nothing was left to do" if ended.startswith("done") else "nothing was read"
            says, share = line.counts or (nothing, None)
            line.show(f"{says}; {ended}", share)


@contextlib.contextmanager
def phase(name: str, quiet: bool = False) -> Iterator[None]:
    """While inside, a log or a notebook says so; a terminal where it takes long: the phases beside "read" are short."""
    line, start = _LINE.get(), time.monotonic()
    if line:
        with _beside(_move, line, lambda: (f"{name}: {time.monotonic() - start:.0f} s", None), False):
            yield
        return
    if quiet:
        yield
        return
    if not _interactive():
        log_line(name)
    with still_at(name):
        yield


@contextlib.contextmanager
def still_at(name: str) -> Iterator[None]:
    """While inside, a log or a terminal hears every LOG_EVERY_S for how long it has been."""
    start = time.monotonic()
    with _beside(_log, name, lambda: f"{time.monotonic() - start:.0f} s so far"):
        yield


@contextlib.contextmanager
def watch(ask: Callable[[], Finished], total: int | None, quiet: bool = False) -> Iterator[None]:
    """While inside, show the counts that `ask` returns; `total`: the number of recordings, None if it is unknown."""
    if quiet:
        yield
        return
    line, start = _LINE.get(), time.monotonic()

    def counts() -> tuple[str, float | None]:
        found = ask()
        done = found.recordings + found.failures
        so_far = plural(done, "recording") if total is None else f"{done:,} of {plural(total, 'recording')}"
        return f"{so_far}, {_describe(found, start)}", min(1.0, done / total) if total else None

    if line:
        with _beside(_move, line, counts, True):
            yield
        return
    if _interactive():
        with _beside(_show_bar, ask, total):
            yield
        return
    log_line("read")
    with _beside(_log, "read", lambda: counts()[0]):
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
    return sys.stderr.isatty()


def _log(name: str, state: Callable[[], str], stop: threading.Event) -> None:
    while not stop.wait(LOG_EVERY_S):
        log_line(f"{name}: {state()}")


def _move(line: Line, state: Callable[[], tuple[str, float | None]], keep: bool, stop: threading.Event) -> None:
    """Show `state` until `stop`, and once more then."""
    while not stop.wait(MOVE_EVERY_S):
        line.show(*state(), keep=keep)
    line.show(*state(), keep=keep)


def _show_bar(ask: Callable[[], Finished], total: int | None, stop: threading.Event) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    start = time.monotonic()
    with Progress(TextColumn("recordings"), *columns, console=console, refresh_per_second=4) as progress:
        bar = progress.add_task("", total=total, rest="starting")
        while not stop.wait(0.25):
            counts = ask()
            progress.update(bar, completed=counts.recordings + counts.failures, rest=_describe(counts, start))
        counts = ask()
        progress.update(bar, completed=counts.recordings + counts.failures, rest=_describe(counts, start))


def _describe(counts: Finished, start: float) -> str:
    audio_s = counts.samples / SAMPLE_RATE
    speed = audio_s / max(time.monotonic() - start, 1e-9)
    length = f"{audio_s / 3600:.2f} h" if audio_s >= 3600 else f"{audio_s:.0f} s"
    return f"{length} audio, {speed:.1f}x real time, {plural(counts.failures, 'failure')}"
