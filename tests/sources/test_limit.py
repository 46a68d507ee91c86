"""The first recordings: files, then members of containers, committed ones counted."""

from pathlib import Path

import pyarrow as pa
import pytest

from actors.pools.isolate import Ledger
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import discover_all
from pipeline.sources.isolation import isolated
from pipeline.sources.plan import divide, remaining
from tests.helpers.shards import read, write_files, write_parquet, write_tar

ALL = [
    *(f"{number}.wav" for number in range(3)),
    *(f"{tar}.tar/{number}.wav" for tar in "st" for number in range(2)),
    *(f"p.parquet/{number:08d}" for number in range(4)),
]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Three files, two tars of two recordings each, a Parquet shard of four in two row groups."""
    write_files(tmp_path, {f"{number}.wav": b"x" for number in range(3)})
    for name in "st":
        write_tar(tmp_path / f"{name}.tar", [(f"{number}.wav", b"x") for number in range(2)])
    write_parquet(tmp_path / "p.parquet", [{"bytes": b"x", "path": None}] * 4)
    return str(tmp_path)


@pytest.mark.parametrize("limit", range(1, 13))
def test_the_first_of_all_kinds(corpus: str, limit: int) -> None:
    planned = divide(discover_all([corpus]), limit=limit, parallelism=8)
    assert [item.id for item in read(planned)] == ALL[:limit]
    assert planned.cut
    if limit <= 3:
        assert planned.recordings == limit


@pytest.mark.parametrize("done", [ALL[:1], ALL[2:6], ALL[4:5], ALL[:7], ALL])
def test_committed_ones_count(corpus: str, done: list[str]) -> None:
    for limit in (2, 5, 6, 9):
        planned = divide(discover_all([corpus]), pa.array(done), limit=limit)
        assert [item.id for item in read(planned)] == [id_ for id_ in ALL[:limit] if id_ not in done]


def test_no_limit_and_a_large_one(corpus: str) -> None:
    assert not divide(discover_all([corpus])).cut
    (Path(corpus) / "s.tar").unlink()
    (Path(corpus) / "t.tar").unlink()
    (Path(corpus) / "p.parquet").unlink()
    assert not divide(discover_all([corpus]), limit=3).cut
    assert divide(discover_all([corpus]), limit=2).cut


def test_what_remains_of_it(corpus: str) -> None:
    planned = divide(discover_all([corpus]), limit=6)
    left = remaining(planned, pa.array(ALL[:5]), dict.fromkeys(range(len(planned.tasks)), ALL[3:6]))
    assert [item.id for item in read(left)] == ALL[5:6]


def test_readers_that_died_read_no_more_than_it(corpus: str) -> None:
    (task,) = [task for task in divide(discover_all([corpus]), limit=6).tasks if task.kind == "tar"]
    ledger = Ledger()
    ledger.begin("read 0")  # by a process that died
    found = [item.id for items in isolated(task, "read 0", ledger) for item in items]
    assert found == [item.id for item in recordings(task)] == ALL[3:6]
