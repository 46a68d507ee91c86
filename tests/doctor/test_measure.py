"""The micro-benchmark on a small model, in this process."""

import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from pipeline.cli.demo import CLIPS
from pipeline.cluster.resources import allot
from pipeline.doctor.cost import Cost
from pipeline.doctor.measure import Trial, _at_most, _block, audio_s, cost_of, measure, repeated
from pipeline.doctor.trial import Place, run_trial
from pipeline.errors import VoxmillError
from pipeline.settings import Settings


@pytest.fixture
def trial(small_model: Path, tmp_path: Path) -> Trial:
    threads: dict[str, list[int | None]] = {"encode": [1], "decode": [1]}
    where = (str(CLIPS), str(tmp_path / "run"), str(small_model))
    return Trial(*where, "cpu", "fp32", "full", "auto", threads, 20.0, "files", "wav", 1.0, time.time())


def test_every_stage_is_measured(trial: Trial, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    found = measure(trial)
    torch.set_num_threads(before)
    costs = [Cost(**one) for one in found["costs"]]
    assert [(one.stage, one.threads) for one in costs] == [("read", 1), ("encode", 1), ("decode", 1), ("write", 1)]
    assert all(0 < one.wall_s < 10 and 0 < one.cpu_s <= one.wall_s * 1.5 for one in costs[:3])
    assert 0 < found["start_s"] < 60
    assert list(tmp_path.iterdir()) == []  # what it wrote is deleted


def test_shards_are_written_too(trial: Trial, tmp_path: Path) -> None:
    found = measure(replace(trial, waves="tar", wave_format="flac", seconds=0.1))
    assert found["costs"][-1]["stage"] == "write"
    assert list(tmp_path.iterdir()) == []


def test_the_time_is_divided_among_the_stages_that_run(trial: Trial) -> None:
    for threads in (trial.threads, {"encode": trial.threads["encode"]}):
        one = replace(trial, threads=threads)
        assert sum(one.seconds_of(stage) for stage in ("read", "write", *threads)) == pytest.approx(trial.seconds)


def rows(*seconds: float) -> list[pa.Table]:
    return [pa.table({"id": [f"{number}"], "num_samples": [round(24_000 * s)]}) for number, s in enumerate(seconds)]


def test_blocks_hold_as_much_audio_as_those_of_a_run() -> None:
    block = _block(rows(1.0, 2.0), 7.5)
    assert block["id"].to_pylist() == ["0/0", "1/1", "2/0", "3/1", "4/0", "5/1"]
    assert audio_s(block) == 9
    assert len(_block(rows(1.0, 2.0, 3.0), 0.5)) == 3
    assert [len(_at_most(block, times)) for times in (0.0, 1.0, 2.9, 3.0, 99.0)] == [1, 1, 1, 2, 6]


def test_calls_are_repeated_as_long_as_there_is_time() -> None:
    calls: list[int] = []
    assert len(repeated(lambda: calls.append(1), 0.0)) == 1
    assert len(repeated(lambda: time.sleep(0.02), 0.2)) > 3
    cost = cost_of("read", 1, [(1.0, 0.5), (3.0, 1.5), (2.0, 9.0)], 2.0)
    assert (cost.wall_s, cost.cpu_s, cost.times_real_time) == (1.0, 0.75, 1.0)


@pytest.mark.slow
def test_the_process_of_a_trial(small_model: Path, tmp_path: Path) -> None:
    settings = Settings()
    resources = allot(settings, {"CPU": 2.0}, ("encode", "decode"))
    found = run_trial(Place(CLIPS, str(tmp_path), "small", small_model), settings, resources, 2.0, 2.0)
    measured = [(one.stage, one.threads) for one in found.costs]
    one = [("read", 1), ("encode", 1), ("decode", 2), ("write", 1)]
    assert [found for found in measured if found != ("encode", 2)] == one  # that not where others use the cores
    assert found.start_s > 0
    with pytest.raises(VoxmillError, match="No model folder"):
        run_trial(Place(CLIPS, str(tmp_path), "none", tmp_path / "none"), settings, resources, 2.0, 2.0)
