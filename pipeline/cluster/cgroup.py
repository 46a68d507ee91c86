"""The limits of this process's control groups (v1 and v2) -> CPUs and bytes. A container's limits are these."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
UNLIMITED = 2**60
"""Version 1 writes a number near 2^63 for no limit."""


def usable_cores(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float:
    """CPUs that this process may use at once: its affinity, or less where a control group gives less."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(there)]
    for folder in _folders("cpu", root, membership):
        quota, period = _numbers(folder / "cpu.max"), _numbers(folder / "cpu.cfs_period_us")
        if len(quota) == 2:
            limits.append(quota[0] / quota[1])
        old = _numbers(folder / "cpu.cfs_quota_us")
        if old and period and old[0] > 0:
            limits.append(old[0] / period[0])
    return min(limits)


def memory_limit(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that this process and its group may hold; None: no limit."""
    found: list[float] = []
    for folder in _folders("memory", root, membership):
        found += _numbers(folder / "memory.max") + _numbers(folder / "memory.limit_in_bytes")
    limit = min(found, default=float(UNLIMITED))
    return int(limit) if limit < UNLIMITED else None


def _folders(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """The group's folder and those above it. A container may see its own group as the root: then only that is there."""
    lines = _text(membership).splitlines()
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        inside = top / path.lstrip("/")
        yield from (folder for folder in (inside, *inside.parents) if folder == top or top in folder.parents)


def _numbers(file: Path) -> list[float]:
    """The numbers in a file; none where it is not there, or says "max"."""
    words = _text(file).split()
    return [] if "max" in words else [float(word) for word in words]


def _text(file: Path) -> str:
    """Nothing where it is not there, or not for this user."""
    try:
        return file.read_text()
    except OSError:
        return ""
