"""run.json -> how fast the run was, and where its time went: sums over its attempts, and the course of the longest."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.run.stage_times import main_attempt
from pipeline.schema import STAGES

SUMMED = ("calls", "busy_s", "waited_s", "audio_s", "resample_s")
HIGHEST = ("workers", "nodes", "peak_memory_mb", "peak_device_mb")


@dataclass(frozen=True)
class Course:
    """An attempt over its time, in slots of equal length. float64 [slots] by stage."""

    slot_s: float
    speed: dict[str, np.ndarray]  # times real time
    busy: dict[str, np.ndarray]  # share of the workers' time, 0..1
    queued_s: dict[str, np.ndarray]  # seconds of audio that wait before a stage, at the end of each slot


def stage_sums(attempts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The "stages" of all attempts added up, peaks and pools the largest; empty where none recorded any."""
    sums: dict[str, dict[str, Any]] = {}
    for attempt in attempts:
        for name, stage in (attempt.get("stages") or {}).items():
            total = sums.setdefault(name, {})
            for key in (key for key in SUMMED if stage.get(key) is not None):
                total[key] = total.get(key, 0) + stage[key]
            for key in (key for key in HIGHEST if stage.get(key) is not None):
                total[key] = max(total.get(key, 0), stage[key])
    return {name: sums[name] for name in STAGES if name in sums}


def course(attempts: Sequence[Mapping[str, Any]]) -> Course | None:
    """Of the attempt with the most audio; None where it did not record its timeline."""
    attempt = main_attempt(attempts)
    if not (attempt.get("timeline") or {}).get("audio_s"):
        return None
    timeline, stages = attempt["timeline"], attempt.get("stages") or {}
    slot_s = timeline["slot_s"]
    slots = max(map(len, timeline["audio_s"].values()))
    audio_s, busy_s = (_equal(timeline.get(key) or {}, slots) for key in ("audio_s", "busy_s"))
    workers = {name: max(1, stages.get(name, {}).get("workers", 1)) for name in busy_s}
    names = list(audio_s)
    pairs = itertools.pairwise(names)
    return Course(
        slot_s,
        {name: values / slot_s for name, values in audio_s.items()},
        {name: np.minimum(1, values / slot_s / workers[name]) for name, values in busy_s.items()},
        {after: np.maximum(0, np.cumsum(audio_s[before]) - np.cumsum(audio_s[after])) for before, after in pairs},
    )


def _equal(by_stage: Mapping[str, Sequence[float]], slots: int) -> dict[str, np.ndarray]:
    """In the dataflow's order, each filled up with zeros to `slots`."""
    return {
        name: np.pad(np.asarray(by_stage[name], float), (0, slots - len(by_stage[name])))
        for name in STAGES
        if name in by_stage
    }


def totals(summary: Mapping[str, Any]) -> dict[str, float]:
    """wall_s, audio_s, times_real_time over all attempts; what a run without attempts has is 0."""
    attempts = summary.get("attempts", [])
    wall_s = sum(attempt["wall_s"] for attempt in attempts)
    audio_s = sum(attempt.get("audio_s", attempt["times_real_time"] * attempt["wall_s"]) for attempt in attempts)
    return {"wall_s": wall_s, "audio_s": audio_s, "times_real_time": audio_s / wall_s if wall_s else 0.0}
