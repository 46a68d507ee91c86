"""Times of the stages, as run.json has them -> one sentence that names the bottleneck."""

from collections.abc import Mapping
from typing import Any

from pipeline.run.stage_times import SHORT_S, busy_shares

BUSY = 0.5
"""The busiest stage is the bottleneck from this share of its workers' time on; below it, something else is."""


def bottleneck(attempt: Mapping[str, Any]) -> str:
    """One sentence on an attempt in run.json; says so where its times are not recorded, or too short to tell.

    The stage whose workers are busy while the others wait holds the others up: a stage before it waits for room, a
    stage behind it for data.
    """
    shares = busy_shares(attempt)
    if not any(shares.values()):
        return "The times of the stages are not recorded in this run."
    if attempt["wall_s"] < SHORT_S:
        return f"A run of {attempt['wall_s']:.0f} s is too short to name a bottleneck: most of it is the start."
    name = max(shares, key=lambda one: shares[one])
    others = ", ".join(f"{other} {share:.0%}" for other, share in shares.items() if other != name)
    stage = attempt["stages"][name]
    busy = f"busy {shares[name]:.0%} of the time{_inside(stage)}{others and f', the others less ({others})'}"
    if shares[name] < BUSY:
        return (
            f"No stage is the bottleneck: the busiest is {name}, {busy}, so the run waited for something outside its "
            "stages, such as starting up, a few large recordings, or too few of them."
        )
    return f"The bottleneck is {name}: {_workers(stage)} {busy}."


def _workers(stage: Mapping[str, Any]) -> str:
    workers = stage.get("workers", 1)
    return "its worker was" if workers == 1 else f"its {workers} workers were"


def _inside(stage: Mapping[str, Any]) -> str:
    """What of the work of a stage (of read) is resampling, where that is recorded."""
    share = (stage.get("resample_s") or 0.0) / stage["busy_s"]
    return f" ({share:.0%} of it resampling)" if share else ""
