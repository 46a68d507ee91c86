"""The sentence that names the bottleneck, and the sums of several attempts."""

import numpy as np
import pytest

from pipeline.report.bottleneck import bottleneck, busy_share
from pipeline.report.timeline import course, gpus, stage_sums, totals
from tests.helpers.rows import run_record


def stage(busy_s: float, waited_s: float, workers: int = 1, **more: float) -> dict[str, float]:
    return {"workers": workers, "nodes": 1, "calls": 3, "busy_s": busy_s, "waited_s": waited_s, "audio_s": 60.0, **more}


def test_the_busiest_stage_is_named() -> None:
    found = bottleneck({"read": stage(20, 80), "encode": stage(380, 20, workers=4), "write": stage(1, 99)})
    assert found == (
        "The bottleneck is encode: its 4 workers were busy 95% of the time, the others less (read 20%, write 1%)."
    )
    found = bottleneck({"read": stage(90, 10, resample_s=45.0), "encode": stage(30, 70)})
    assert found.startswith("The bottleneck is read: its worker was busy 90% of the time (50% of it resampling)")


def test_where_all_wait_no_stage_is_named() -> None:
    assert bottleneck({"read": stage(1, 9), "encode": stage(3, 7)}).startswith("No stage is the bottleneck")


@pytest.mark.parametrize("stages", [{}, {"read": stage(0, 0)}, {"read": stage(0, 5), "encode": stage(0, 5)}])
def test_without_records_it_says_so(stages: dict[str, dict[str, float]]) -> None:
    assert bottleneck(stages) == "The times of the stages are not recorded in this run."


def test_share_of_nothing() -> None:
    assert busy_share(stage(0, 0)) == 0
    assert busy_share(stage(1, 3)) == 0.25


def test_attempts_add_up_and_peaks_do_not() -> None:
    first = {"stages": {"encode": stage(10, 0, workers=2, peak_memory_mb=5.0), "read": stage(1, 1, resample_s=1.0)}}
    second = {"stages": {"encode": stage(5, 5, workers=3, peak_memory_mb=4.0), "read": stage(2, 0, resample_s=0.5)}}
    sums = stage_sums([first, {}, second])
    assert list(sums) == ["read", "encode"]
    assert sums["encode"] == {**stage(15, 5, workers=3), "calls": 6, "audio_s": 120.0, "peak_memory_mb": 5.0}
    assert sums["read"]["resample_s"] == 1.5
    assert gpus({**run_record(device="cuda (H100)"), "attempts": [first]}) == 2
    assert gpus({**run_record(device="cpu"), "attempts": [first]}) == 0
    assert totals(run_record()) == {"wall_s": 1.0, "audio_s": 1.0, "times_real_time": 1.0}
    assert totals({}) == {"wall_s": 0, "audio_s": 0, "times_real_time": 0.0}


def test_the_course_of_the_longest_attempt() -> None:
    audio = {"encode": [0.0, 30.0], "read": [20.0, 20.0, 10.0]}
    long = {
        "wall_s": 30.0,
        "stages": {"read": stage(20, 10, workers=2)},
        "timeline": {"slot_s": 10.0, "audio_s": audio, "busy_s": {"read": [20.0, 10.0, 0.0]}},
    }
    found = course([{"wall_s": 99.0}, {**long, "wall_s": 1.0, "timeline": {"slot_s": 1.0, "audio_s": {}}}, long])
    assert found is not None
    assert list(found.speed) == ["read", "encode"]
    assert found.speed["encode"].tolist() == [0.0, 3.0, 0.0]
    assert found.busy["read"].tolist() == [1.0, 0.5, 0.0]
    assert found.queued_s["encode"].tolist() == [20.0, 10.0, 20.0]
    assert course([{"wall_s": 1.0}]) is None
    assert np.all(found.queued_s["encode"] >= 0)
