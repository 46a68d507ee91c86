"""The sentence that names the bottleneck, and the sums of several attempts."""

from typing import Any

import numpy as np
import pytest

from pipeline.report.bottleneck import bottleneck
from pipeline.report.timeline import course, stage_sums, totals
from pipeline.run.stage_times import busy_shares, gpus
from tests.helpers.rows import run_record


def stage(busy_s: float, waited_s: float, workers: int = 1, **more: float) -> dict[str, float]:
    return {"workers": workers, "nodes": 1, "calls": 3, "busy_s": busy_s, "waited_s": waited_s, "audio_s": 60.0, **more}


def attempt(wall_s: float = 100.0, **stages: dict[str, float]) -> dict[str, Any]:
    return {"wall_s": wall_s, "audio_s": 60.0, "stages": stages}


def test_the_busiest_stage_is_named() -> None:
    found = bottleneck(attempt(read=stage(20, 80), encode=stage(380, 20, workers=4), write=stage(1, 99)))
    assert found == (
        "The bottleneck is encode: its 4 workers were busy 95% of the time, the others less (read 20%, write 1%)."
    )
    found = bottleneck(attempt(read=stage(90, 10, resample_s=45.0), encode=stage(30, 70)))
    assert found.startswith("The bottleneck is read: its worker was busy 90% of the time (50% of it resampling)")


def test_where_all_wait_no_stage_is_named() -> None:
    assert bottleneck(attempt(read=stage(10, 90), encode=stage(30, 70))).startswith("No stage is the bottleneck")


@pytest.mark.parametrize("stages", [{}, {"read": stage(0, 0)}, {"read": stage(0, 5), "encode": stage(0, 5)}])
def test_without_records_it_says_so(stages: dict[str, dict[str, float]]) -> None:
    assert bottleneck(attempt(**stages)) == "The times of the stages are not recorded in this run."


def test_a_run_that_only_starts_has_no_bottleneck() -> None:
    assert bottleneck(attempt(wall_s=9.0, read=stage(0.5, 0), write=stage(0.1, 0))).startswith("A run of 9 s is too")


def test_a_stage_of_few_calls_is_not_busy() -> None:
    assert busy_shares(attempt(write=stage(1, 0), read=stage(1, 199))) == {"read": 0.005, "write": 0.01}
    assert busy_shares({}) == {}


def test_attempts_add_up_and_peaks_do_not() -> None:
    first = {"stages": {"encode": stage(10, 0, workers=2, peak_memory_mb=5.0), "read": stage(1, 1, resample_s=1.0)}}
    second = {"stages": {"encode": stage(5, 5, workers=3, peak_memory_mb=4.0), "read": stage(2, 0, resample_s=0.5)}}
    sums = stage_sums([first, {}, second])
    assert list(sums) == ["read", "encode"]
    assert sums["encode"] == {**stage(15, 5, workers=3), "calls": 6, "audio_s": 120.0, "peak_memory_mb": 5.0}
    assert sums["read"]["resample_s"] == 1.5
    assert totals(run_record()) == {"wall_s": 1.0, "audio_s": 1.0, "times_real_time": 1.0}
    assert totals({}) == {"wall_s": 0, "audio_s": 0, "times_real_time": 0.0}


def test_gpus_are_those_of_both_pools() -> None:
    half = {"encode": {"gpus": 0.5}, "decode": {"gpus": 0.5}}
    both = {"encode": stage(1, 0, workers=4), "decode": stage(1, 0, workers=4), "read": stage(1, 0, workers=9)}
    assert gpus(half, both) == gpus({}, both) == 4
    assert gpus({}, {"encode": stage(1, 0, workers=4)}) == 4
    assert gpus({"encode": {"gpus": 0.25}}, {"encode": stage(1, 0, workers=4)}) == 1
    assert gpus({}, {"read": stage(1, 0)}) == 0


def test_the_course_of_the_longest_attempt() -> None:
    audio = {"encode": [0.0, 30.0], "read": [20.0, 20.0, 10.0]}
    long = {
        "wall_s": 30.0,
        "audio_s": 50.0,
        "stages": {"read": stage(20, 10, workers=2)},
        "timeline": {"slot_s": 10.0, "audio_s": audio, "busy_s": {"read": [20.0, 10.0, 0.0]}},
    }
    found = course([{"wall_s": 99.0}, {**long, "audio_s": 1.0, "timeline": {"slot_s": 1.0, "audio_s": {}}}, long])
    assert found is not None
    assert list(found.speed) == ["read", "encode"]
    assert found.speed["encode"].tolist() == [0.0, 3.0, 0.0]
    assert found.busy["read"].tolist() == [1.0, 0.5, 0.0]
    assert found.queued_s["encode"].tolist() == [20.0, 10.0, 20.0]
    assert course([{"wall_s": 1.0}]) is None
    assert np.all(found.queued_s["encode"] >= 0)
