"""What a check saw, what was expected, what to change. One row of `voxmill doctor`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "change"]


@dataclass(frozen=True)
class Finding:
    """`change`: a run fails, or wastes most of what it has, until `advice` is followed. `warn`: it may."""

    check: str
    level: Level
    seen: str
    expected: str = ""
    advice: str = ""


def ok(check: str, seen: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", seen)


def warn(check: str, seen: str, expected: str, advice: str) -> Finding:
    """Worth a look."""
    return Finding(check, "warn", seen, expected, advice)


def change(check: str, seen: str, expected: str, advice: str) -> Finding:
    """Must be changed."""
    return Finding(check, "change", seen, expected, advice)


def must_change(findings: Iterable[Finding]) -> bool:
    """Whether any finding says so: exit code 1."""
    return any(one.level == "change" for one in findings)
