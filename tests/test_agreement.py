"""What the measurement at the end of a run reads: nothing that failed, since that may have ended its reader."""

from pathlib import Path

import pyarrow as pa
import pytest

import pipeline.agreement
from pipeline.agreement import agreement
from pipeline.cluster.load import CodecSpec
from pipeline.cluster.resources import PoolPlan
from pipeline.read import Reading
from pipeline.sources.committed import without
from pipeline.sources.formats import recordings
from pipeline.sources.plan import plan
from tests.helpers.shards import write_files, write_tar


def test_what_failed_is_not_read_again(tmp_path: Path) -> None:
    write_files(tmp_path, {"good.wav": b"1", "poison.wav": b"2"})
    write_tar(tmp_path / "one.tar", [("good.wav", b"1"), ("poison.wav", b"2")])
    write_tar(tmp_path / "broken.tar", [("any.wav", b"1")])
    failed = pa.chunked_array([["poison.wav", "one.tar/poison.wav"], ["broken.tar"]], pa.string())
    tasks = without(plan([str(tmp_path)]).tasks, failed)
    assert sorted(one.id for task in tasks for one in recordings(task)) == ["good.wav", "one.tar/good.wav"]
    tasks = without(plan([str(tmp_path)]).tasks, failed.slice(0, 0))
    assert sum(1 for task in tasks for _ in recordings(task)) == 5


def test_a_task_hears_only_of_its_own_failures(tmp_path: Path) -> None:
    write_files(tmp_path, {"good.wav": b"1", "poison.wav": b"2"})
    write_tar(tmp_path / "one.tar", [("poison.wav", b"2")])
    failed = pa.chunked_array([["poison.wav", "one.tar/poison.wav", *map(str, range(1000))]], pa.string())
    tasks = without(plan([str(tmp_path)]).tasks, failed)
    assert {task.kind: task.done.to_pylist() for task in tasks} == {"files": [], "tar": ["one.tar/poison.wav"]}


@pytest.mark.usefixtures("local_ray")
def test_a_device_that_another_run_took_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, {"good.wav": b"1"})
    monkeypatch.setattr(pipeline.agreement, "WAIT_S", 1.0)
    codec = CodecSpec("demo", "", {}, "cuda", "fp16", "full", "none", None, "encode")
    pool = PoolPlan(1, 1, 1, 1.0, 0.0, None)
    none = pa.chunked_array([], pa.string())
    assert agreement(plan([str(tmp_path)]), none, Reading(1920, 0, False, 1.0), codec, pool, 0.1) is None
    assert "agreement with fp32 is not measured: it had no end after 2 s" in capsys.readouterr().err
