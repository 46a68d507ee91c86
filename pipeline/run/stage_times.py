"""An attempt in run.json -> how busy the workers of each stage were."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.schema import STAGES

SHORT_S = 60.0
"""An attempt shorter than this mostly starts: Ray, PyTorch and the weights take 10 to 30 s."""


def main_attempt(attempts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The attempt with the most audio; empty where none has any."""
    return max((one for one in attempts if one.get("audio_s")), key=lambda one: one["audio_s"], default={})


def busy_shares(attempt: Mapping[str, Any]) -> dict[str, float]:
    """Of the time of each stage's workers, the part inside their calls; empty where it is not recorded.

    A worker's wait before its first call and after its last is not recorded. So a stage is taken to have had the time
    of one worker at least, from its first work on.
    """
    stages = attempt.get("stages") or {}
    whole = {
        name: max(stages[name]["busy_s"] + stages[name]["waited_s"], active_s(attempt, name), 1e-9)
        for name in STAGES
        if name in stages
    }
    return {name: stages[name]["busy_s"] / seconds for name, seconds in whole.items()}


def gpus(settings: Mapping[str, Any], stages: Mapping[str, Any]) -> float:
    """GPUs that the pools of a run on GPUs reserved together, by their recorded workers and the share of each."""
    pools = [stage for stage in ("encode", "decode") if stage in stages]
    return sum(stages[stage]["workers"] * (settings.get(stage, {}).get("gpus") or 1 / len(pools)) for stage in pools)


def active_s(attempt: Mapping[str, Any], stage: str = "encode") -> float:
    """Seconds of an attempt from the first work of `stage` on, as far as that is known."""
    return attempt["wall_s"] - (before_first(attempt.get("timeline"), "busy_s", stage) or 0.0)


def before_first(timeline: Mapping[str, Any] | None, series: str = "audio_s", stage: str = "encode") -> float | None:
    """Seconds until the first slot in which `stage` finished audio ("busy_s": worked)."""
    slots = (timeline or {}).get(series, {}).get(stage, [])
    if timeline is None or not any(slots):
        return None
    return timeline["slot_s"] * next(number for number, value in enumerate(slots) if value)
