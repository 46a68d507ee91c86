"""run.json of runs that are slow for one reason each -> the finding that names it."""

from typing import Any

import pytest

from pipeline.doctor.diagnose import diagnose
from pipeline.doctor.finding import Finding
from tests.helpers.rows import run_record

WALL_S = 1000.0


def stage(workers: int, busy: float, **more: Any) -> dict[str, Any]:
    """Of a stage whose workers were busy for this share of the run."""
    times = {"busy_s": busy * workers * WALL_S, "waited_s": (1 - busy) * workers * WALL_S}
    return {"workers": workers, "nodes": 1, "calls": 100, **times, "audio_s": 3.6e5, "peak_memory_mb": 500.0, **more}


def record(read: float, encode: float, decode: float | None = None, write: float = 0.1, **more: Any) -> dict[str, Any]:
    """Of a run on one GPU with 4 readers; `more` are other keys of run.json, or of its attempt."""
    stages = {"read": stage(4, read), "encode": stage(1, encode, peak_device_mb=9000.0), "write": stage(1, write)}
    if decode is not None:
        stages["decode"] = stage(1, decode, peak_device_mb=4000.0)
    attempt = {"started": "2026-01-01T00:00:00+00:00", "wall_s": WALL_S, "audio_s": 3.6e5, "times_real_time": 360.0}
    inside = {key: more.pop(key) for key in ("stages", "timeline", "wall_s") if key in more}
    counts = {"recordings": 100, "failures": 0, "audio_s": 3.6e5, "context_s": 0.0}
    return run_record(
        **{
            "device": "cuda",
            "precision": "fp16",
            "counts": counts,
            "attempts": [{**attempt, "stages": stages} | inside],
        }
        | more
    )


def named(found: list[Finding], check: str) -> Finding:
    return next(one for one in found if one.check == check)


def test_a_run_that_ended_without_codes() -> None:
    counts = {"recordings": 0, "failures": 3, "audio_s": 0.0, "context_s": 0.0}
    found = diagnose(run_record(attempts=[], counts=counts))
    assert named(found, "run").seen == "it has ended, and none of its recordings has codes"
    assert (named(found, "failures").seen, named(found, "failures").level) == ("3 of 3 recordings", "change")
    (going,) = diagnose(run_record(attempts=[], state="running"))
    assert going.expected == "a run that has ended"


def test_a_busy_gpu() -> None:
    found = diagnose(record(0.3, 0.95), 1)
    assert {one.level for one in found} == {"ok"}
    assert named(found, "memory").seen == "a process at its peak: read 500 MB, encode 500 MB, write 500 MB"
    used = named(found, "GPU used")
    assert (
        used.seen
        == "95% of the time of 1 GPU was inside calls of the pools; at most 9,000 MB of its memory in a process"
    )
    assert "encode has no room left" in named(found, "bottleneck").seen
    assert "encode.actors=2" in named(found, "bottleneck").advice


def test_two_pools_share_a_gpu() -> None:
    found = diagnose(record(0.3, 0.2, 0.85), 1)
    assert named(found, "GPU used").seen.startswith("105% of the time of 1 GPU")
    assert "--no-reconstruct" in named(found, "bottleneck").advice


def test_readers_keep_the_gpu_waiting() -> None:
    found = diagnose(record(0.97, 0.2), 1)
    assert [named(found, name).level for name in ("GPU used", "bottleneck")] == ["change", "change"]
    assert "read has no room left" in named(found, "bottleneck").seen
    assert "input.readers=8" in named(found, "bottleneck").advice
    some = record(0.97, 0.2)
    some["attempts"][0]["stages"]["read"]["resample_s"] = 0.6 * 4 * WALL_S
    assert "62% of it is resampling" in named(diagnose(some), "bottleneck").advice


def test_a_writer_keeps_the_gpu_waiting() -> None:
    found = named(diagnose(record(0.1, 0.3, 0.1, write=0.99), 1), "bottleneck")
    assert (found.level, "output.waves=tar" in found.advice) == ("change", True)


def test_a_worker_with_one_call_is_not_busy_all_the_time() -> None:
    run = record(0.2, 0.3)
    run["attempts"][0]["stages"]["write"] |= {"calls": 1, "busy_s": 0.5, "waited_s": 0.0}
    found = named(diagnose(run, 1), "bottleneck")
    assert "write 0% busy" in found.seen
    late = [0.0] * 60 + [5.0] * 40
    run["attempts"][0]["timeline"] = {
        "slot_s": 10.0,
        "audio_s": {},
        "busy_s": {"encode": late, "write": [0.0] * 99 + [1]},
    }
    found = diagnose(run, 1)
    assert named(found, "GPU used").seen.startswith("75% of the time of 1 GPU")  # 300 of 400 s
    assert "write 5% busy" in named(found, "bottleneck").seen  # 0.5 of 10 s


def test_every_stage_waits() -> None:
    found = named(diagnose(record(0.3, 0.4), 1), "bottleneck")
    assert (found.level, "every stage waits" in found.seen) == ("warn", True)
    assert "too short a run" in named(diagnose(record(0.003, 0.004, wall_s=20.0), 1), "bottleneck").seen


def test_the_cpu_was_used_though_a_gpu_is_there() -> None:
    on_cpu = record(0.1, 0.95, device="cpu", precision="fp32")
    assert named(diagnose(on_cpu, 1), "GPU used").level == "change"
    found = diagnose(on_cpu, 0)
    assert named(found, "GPU used").level == "ok"
    assert "a GPU" in named(found, "bottleneck").advice


def test_a_run_that_mostly_starts() -> None:
    timeline = {"slot_s": 10.0, "audio_s": {"encode": [0.0] * 50 + [1.0] * 50}, "busy_s": {}}
    found = named(diagnose(record(0.3, 0.9, timeline=timeline), 1), "start")
    assert (found.level, found.seen) == ("warn", "500 of 1000 s passed before any audio was encoded")
    assert named(diagnose(record(0.3, 0.9, wall_s=20.0), 1), "start").level == "warn"
    timeline["audio_s"] = {"encode": [0.0] * 5 + [1.0] * 95}
    assert not [one for one in diagnose(record(0.3, 0.9, timeline=timeline), 1) if one.check == "start"]


def test_many_failures() -> None:
    counts = {"recordings": 90, "failures": 10, "audio_s": 9.0, "context_s": 0.0}
    assert named(diagnose(record(0.3, 0.9, counts=counts), 1), "failures").level == "change"


@pytest.mark.parametrize(
    ("check", "more"),
    [
        ("precision", {"precision": "fp32"}),
        ("accelerate", {"settings": {"accelerate": "none"}}),
        ("blocks", {"settings": {"chunk": {"block_mb": 2.0}}}),
        ("context", {"counts": {"recordings": 1, "failures": 0, "audio_s": 1.0, "context_s": 1.0}}),
    ],
)
def test_settings_that_cost_speed(check: str, more: dict[str, Any]) -> None:
    assert named(diagnose(record(0.3, 0.9, **more), 1), check).level == "warn"


def test_a_run_that_recorded_no_times() -> None:
    found = diagnose(record(0, 0, stages=None), 1)
    assert [named(found, name).seen for name in ("GPU used", "bottleneck")] == ["not recorded"] * 2
    assert named(found, "speed").seen == "100.00 h of audio in 1,000 s: 360.0x real time on cuda"


def test_a_run_without_an_attempt() -> None:
    assert [one.level for one in diagnose(run_record(attempts=[], state="running"))] == ["warn"]
