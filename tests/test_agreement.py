"""What the measurement at the end of a run reads: nothing that failed, since that may have ended its reader."""

from pathlib import Path

import pyarrow as pa

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
