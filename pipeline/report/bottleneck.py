"""Times of the stages, as run.json has them -> one sentence that names the bottleneck. Needs no other package."""

from collections.abc import Mapping
from typing import Any

STAGES = ("read", "encode", "decode", "waves", "write")
"""In the order of the dataflow."""
BUSY = 0.5
"""The busiest stage is the bottleneck from this share of its workers' time on; below it, something else is."""


def busy_share(stage: Mapping[str, Any]) -> float:
    """Share of its workers' time that a stage was inside calls, of "busy_s" and "waited_s"; 0 without either."""
    whole_s = stage["busy_s"] + stage["waited_s"]
    return stage["busy_s"] / whole_s if whole_s else 0.0


def bottleneck(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on the "stages" of an attempt in run.json, or of several added up; says so where there are none.

    The stage whose workers are busy while the others wait holds the others up: a stage before it waits for room, a
    stage behind it for data.
    """
    shares = {name: busy_share(stages[name]) for name in STAGES if name in stages}
    if not any(shares.values()):
        return "The times of the stages are not recorded in this run."
    name = max(shares, key=lambda one: shares[one])
    others = ", ".join(f"{other} {share:.0%}" for other, share in shares.items() if other != name)
    busy = f"busy {shares[name]:.0%} of the time{_inside(stages[name])}{others and f', the others less ({others})'}"
    if shares[name] < BUSY:
        return (
            f"No stage is the bottleneck: the busiest is {name}, {busy}, so the run waited for something outside its "
            "stages, such as starting up, a few large recordings, or too few of them."
        )
    return f"The bottleneck is {name}: {_workers(stages[name])} {busy}."


def _workers(stage: Mapping[str, Any]) -> str:
    workers = stage.get("workers", 1)
    return "its worker was" if workers == 1 else f"its {workers} workers were"


def _inside(stage: Mapping[str, Any]) -> str:
    """What of the work of a stage (of read) is resampling, where that is recorded."""
    share = (stage.get("resample_s") or 0.0) / stage["busy_s"]
    return f" ({share:.0%} of it resampling)" if share else ""
