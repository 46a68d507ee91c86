"""A command -> its wall time, CPU time and peak memory, with all processes that it starts."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_S = 0.1
"""Between two looks at the processes: a peak or a process that is shorter is missed."""
STOP_AT = 0.9
"""Of the memory that was free at the start: a command that takes more is ended, before the kernel ends others."""


@dataclass(frozen=True)
class Spent:
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int  # resident, summed over the processes: shared pages count in each
    error: str | None  # why it did not come to its end


def spend(command: Sequence[str], env: Mapping[str, str], log: Path) -> Spent:
    """Run `command` to its end; its output goes to `log`. A command that dies, or takes too much memory, has an error.

    Where it leaves processes behind, these are ended too.
    """
    most = STOP_AT * psutil.virtual_memory().available
    start, peak, error = time.monotonic(), 0, None
    cpu: dict[psutil.Process, float] = {}
    with log.open("w") as output:
        child = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
    tree = psutil.Process(child.pid)
    try:
        while child.poll() is None:
            used = _look(tree, cpu)
            peak = max(peak, used)
            if used > most:
                error = f"stopped at {used / 2**30:.1f} GiB, more than is free"
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(EVERY_S)
        wall_s = time.monotonic() - start
    finally:
        _end(child, list(cpu))
    if error is None and child.returncode:
        last = log.read_text().strip().splitlines()[-1:] or [""]
        error = f"exit code {child.returncode}: {last[0]}"
    return Spent(wall_s, sum(cpu.values()), peak, error)


def _look(tree: psutil.Process, cpu: dict[psutil.Process, float]) -> int:
    """Resident bytes of a process and its descendants; their CPU seconds go to `cpu`, in which the ended ones stay."""
    used = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [tree, *tree.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                times = process.cpu_times()
                cpu[process] = times.user + times.system
                used += process.memory_info().rss
    return used


def _end(child: subprocess.Popen[bytes], seen: list[psutil.Process]) -> None:
    """Nothing of the command is left, whether it ended or not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for process in seen:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # psutil knows a number that is used again by its start
    child.wait()
