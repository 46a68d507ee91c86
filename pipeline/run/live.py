"""A run that somebody may be writing -> how far it is, who writes it, and does that process live. Changes nothing."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from pyarrow.fs import FileSystem, FileType

from actors.contract import SAMPLE_RATE
from pipeline.run.claims import WATCH_S, Watch, claims, read_claim
from pipeline.run.layout import PARTS, part_infos
from pipeline.run.process import Process
from pipeline.run.reader import Run, open_run
from pipeline.run.resume import RUNNING

WINDOW_S = 600.0
"""The rate is that of the commits of so many seconds before the last one."""


@dataclass(frozen=True)
class Live:
    """A run as it is now."""

    state: str  # running, crashed (its writer is dead), stopped (it has none and is not complete), limited, complete
    writer: str | None  # the process that writes it, or that died
    recordings: int  # with all their codes
    failures: int
    skipped: int
    of: int | None  # how many there will be of all three; None: unknown
    last_commit: str | None  # UTC, ISO 8601, by the clock of the disk or the store
    times_real_time: float | None  # None where the last minutes' parts, after the first, complete no recording


def open_any(location: str) -> Run:
    """`open_run`, also where a run begins and has nothing yet but the claim of who writes it."""
    run = Run(location)
    return run if _claims(run.fs, run.path) else open_run(location)


def _claims(fs: FileSystem, run: str) -> list[str]:
    """None of a single Parquet file."""
    return claims(fs, run, sweep=False) if fs.get_file_info(run).type == FileType.Directory else []


def look(run: Run) -> Live | None:
    """None for Parquet without run.json. Takes up to 20 s where the writer is on another machine, and only its
    heartbeat can tell whether it lives."""
    found = writer(run.fs, run.path)
    summary = run.summary()
    if not summary and found is None:
        return None
    times = _times(run.fs, run.path)
    last = max(times.values(), default=None)
    return Live(
        state=_state(summary.get("state", "running"), found),
        writer=str(found[0]) if found else None,
        recordings=len(run),
        failures=len(run.failures()),
        skipped=len(run.skipped()),
        of=summary.get(RUNNING, {}).get("recordings"),
        last_commit=None if last is None else datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds"),
        times_real_time=_rate(run, times),
    )


def writer(fs: FileSystem, run: str) -> tuple[Process, bool] | None:
    """The process that writes the run, or waits for it, and whether it lives: a living one rather than a dead one."""
    watch, deadline_s = Watch(), time.monotonic() + WATCH_S + 5
    dead = None
    while True:
        unsure = False
        for path in _claims(fs, run):
            claim = read_claim(fs, path)
            if claim is None or claim.process is None:
                continue
            lives = watch.lives(claim)
            if lives:
                return claim.process, True
            unsure |= lives is None
            dead = claim.process
        if not unsure or time.monotonic() > deadline_s:
            return (dead, False) if dead else None
        time.sleep(1)


def _state(recorded: str, found: tuple[Process, bool] | None) -> str:
    if found and found[1]:
        return "running"
    if recorded != "running":
        return recorded
    return "crashed" if found else "stopped"


def _times(fs: FileSystem, run: str) -> dict[str, float]:
    """When each part was committed, in seconds since 1970."""
    found = (info for folder in PARTS for info in part_infos(fs, run, folder))
    return {info.path: info.mtime_ns / 1e9 for info in found if info.mtime_ns}


def _rate(run: Run, times: dict[str, float]) -> float | None:
    """Seconds of audio a second: of the parts in the window but its first, since that."""
    at = np.array([times.get(path, 0.0) for path in run.paths])
    if len(at) < 2:
        return None
    samples = np.zeros(len(at))
    np.add.at(samples, run.index["part"].to_numpy(), run.index["num_samples"].to_numpy())
    order = np.argsort(at, kind="stable")
    at, samples = at[order], samples[order]
    recent = at > at[-1] - WINDOW_S
    passed_s, audio_s = at[-1] - at[recent][0], float(samples[recent][1:].sum()) / SAMPLE_RATE
    return round(audio_s / passed_s, 2) if passed_s > 0 and audio_s > 0 else None
