"""run.json -> the section on speed: its course, the stages, and the bottleneck."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.report.bottleneck import bottleneck
from pipeline.report.plots import lines
from pipeline.report.section import Picture, Section, Table
from pipeline.report.timeline import Course, course, stage_sums
from pipeline.report.words import seconds
from pipeline.run.stage_times import busy_shares, main_attempt

MOST_ATTEMPTS = 20


def where_time(summary: Mapping[str, Any]) -> Section:
    """Says "not recorded" for runs that are older than the recording of stages."""
    attempts = summary.get("attempts", [])
    stages, over_time, longest = stage_sums(attempts), course(attempts), main_attempt(attempts)
    shares = busy_shares(longest)
    tables = [_attempts(attempts)] if attempts else []
    if stages:
        head = ("stage", "workers", "nodes", "busy", "waited", "busy share", "audio", "memory, most", "device, most")
        tables.insert(
            0,
            Table(
                "Stages, all attempts together",
                head,
                [_stage(name, stage, shares.get(name)) for name, stage in stages.items()],
            ),
        )
    pictures = _pictures(over_time, shares) if over_time else []
    notes = [] if over_time or not stages else ["The course over time is not recorded in this run."]
    if over_time and len(attempts) > 1:
        notes.append("Pictures and busy shares are of the attempt with the most audio.")
    return Section("time", "Where the time went", [bottleneck(longest)], pictures=pictures, tables=tables, notes=notes)


def _pictures(found: Course, shares: Mapping[str, float]) -> list[Picture]:
    slots = len(next(iter(found.speed.values())))
    ends = (np.arange(slots) + 1) * found.slot_s
    unit, name = (3600, "hours") if ends[-1] > 7200 else (60, "minutes") if ends[-1] > 120 else (1, "seconds")
    x = ends / unit
    last = list(found.speed)[-1]
    speed = lines(
        x,
        found.speed,
        (name, "times real time"),
        f"Speed of each stage over time; {last} finishes "
        f"{float(found.speed[last].mean()):,.1f} times real time on average",
    )
    pictures = [Picture(speed, "Audio that each stage finishes, in multiples of real time.")]
    if found.busy:
        means = ", ".join(f"{stage} {shares[stage]:.0%}" for stage in found.busy if stage in shares)
        busy = lines(x, {s: 100 * v for s, v in found.busy.items()}, (name, "busy, %"), f"Busy share: {means}", 103)
        pictures.append(
            Picture(busy, "Share of the workers' time inside calls. Of encode and decode it is how busy devices are.")
        )
    if found.queued_s:
        most = ", ".join(f"{stage} {seconds(values.max())}" for stage, values in found.queued_s.items())
        scale, label = (60, "minutes") if max(v.max() for v in found.queued_s.values()) > 120 else (1, "seconds")
        waiting = {s: v / scale for s, v in found.queued_s.items()}
        queued = lines(x, waiting, (name, f"{label} of audio"), f"Longest queues: {most}")
        pictures.append(Picture(queued, "Audio that waits before a stage: what the stage before has finished more."))
    return pictures


def _stage(name: str, stage: Mapping[str, Any], busy: float | None) -> tuple[str, ...]:
    resampling = f" ({seconds(stage['resample_s'])} resampling)" if stage.get("resample_s") else ""
    return (
        name,
        str(stage.get("workers", "")),
        str(stage.get("nodes", "")),
        seconds(stage["busy_s"]) + resampling,
        seconds(stage["waited_s"]),
        "" if busy is None else f"{busy:.0%}",
        seconds(stage.get("audio_s", 0.0)),
        _mb(stage.get("peak_memory_mb")),
        _mb(stage.get("peak_device_mb")),
    )


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} MB"


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> Table:
    last = attempts[-MOST_ATTEMPTS:]
    rows = [
        (
            attempt["started"],
            seconds(attempt["wall_s"]),
            seconds(attempt["audio_s"]) if "audio_s" in attempt else "",
            f"{attempt['times_real_time']:,.1f}",
        )
        for attempt in last
    ]
    caption = "Attempts" if len(last) == len(attempts) else f"The last {len(last)} of {len(attempts):,} attempts"
    return Table(caption, ("started", "processing", "audio", "times real time"), rows)
