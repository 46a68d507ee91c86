"""A recording, or a container, that ends the process that reads it fails alone; nothing else is lost."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

import pipeline.sources.isolation
from actors.pools.isolate import MAX_DEATHS, Ledger
from pipeline.sources.formats import recordings
from pipeline.sources.isolation import isolated
from pipeline.sources.plan import plan
from pipeline.sources.task import InputRecording, ReadTask
from tests.helpers.shards import content, write_files, write_parquet, write_tar


class Death(BaseException):
    """Simulates the death of the process: nothing may catch it."""


@contextmanager
def dies() -> Iterator[BinaryIO]:
    raise Death
    yield


class Calls(Ledger):
    """Counts what is asked and told."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def begin(self, key: str) -> list[str]:
        self.count += 1
        return super().begin(key)

    def end(self, key: str) -> None:
        self.count += 1
        super().end(key)


def deadly(monkeypatch: pytest.MonkeyPatch, opened: set[str], found: set[str] | None = None) -> None:
    """Opening the recordings `opened` ends the process, and so does coming across those in `found`."""

    def read(task: ReadTask) -> Iterator[InputRecording]:
        for item in recordings(task):
            if item.id in (found or ()):
                raise Death
            yield replace(item, open=dies) if item.id in opened else item

    monkeypatch.setattr(pipeline.sources.isolation, "recordings", read)


def one_task(folder: Path) -> ReadTask:
    """All of `folder` in one task."""
    tasks = plan([str(folder)]).tasks
    return replace(tasks[0], units=pa.concat_tables([task.units for task in tasks]))


def replayed(task: ReadTask, attempts: Ledger) -> tuple[dict[str, bytes | str], int]:
    """What is read of `task` in the end, as Ray would, and how many processes died over it."""
    for deaths in itertools.count():
        try:
            found = [(item.id, content(item)) for item in isolated(task, "read 0", attempts)]
        except Death:
            continue
        assert len(dict(found)) == len(found)
        return dict(found), deaths
    raise AssertionError


@pytest.fixture
def files(tmp_path: Path) -> ReadTask:
    return one_task(write_files(tmp_path, {f"{name}.wav": name.encode() for name in "abcde"}))


def test_a_task_without_deaths_makes_two_calls(files: ReadTask) -> None:
    calls = Calls()
    assert replayed(files, calls) == ({f"{name}.wav": name.encode() for name in "abcde"}, 0)
    assert (calls.count, calls.begun) == (2, {})


@pytest.mark.parametrize("poison", [{"a.wav"}, {"c.wav"}, {"a.wav", "b.wav", "e.wav"}])
def test_a_file_that_kills_its_reader_fails_alone(
    poison: set[str], files: ReadTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly(monkeypatch, poison)
    found, deaths = replayed(files, Ledger())
    assert deaths == 1 + MAX_DEATHS * len(poison)
    assert found.keys() == {f"{name}.wav" for name in "abcde"}
    assert {id_ for id_, read in found.items() if str(read).startswith(f"KillsItsReader: {id_}: 2 processes")} == poison


def test_one_death_may_be_bad_luck(files: ReadTask) -> None:
    ledger = Ledger()
    for key in ("read 0", "read 0 a.wav 2 c.wav"):
        ledger.begin(key)
    assert replayed(files, ledger) == ({f"{name}.wav": name.encode() for name in "abcde"}, 0)
    assert ledger.begun == {}


def test_a_member_that_kills_its_reader_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "s.tar", [("m1.wav", b"1"), ("m2.wav", b"2")])
    write_tar(tmp_path / "t.tar", [("n1.wav", b"3")])
    task = one_task(tmp_path)
    deadly(monkeypatch, {"s.tar/m1.wav"})
    found, _ = replayed(task, Ledger())
    assert str(found.pop("s.tar/m1.wav")).startswith("KillsItsReader: m1.wav: 2 processes")
    assert found == {"s.tar/m2.wav": b"2", "t.tar/n1.wav": b"3"}


def test_a_container_that_cannot_be_passed_fails_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "s.tar", [("m1.wav", b"1"), ("m2.wav", b"2")])
    write_tar(tmp_path / "t.tar", [("n1.wav", b"3")])
    task = one_task(tmp_path)
    deadly(monkeypatch, set(), found={"s.tar/m2.wav"})
    found, deaths = replayed(task, Ledger())
    assert deaths == 1 + MAX_DEATHS
    assert str(found.pop("s.tar")).startswith(f"KillsItsReader: {tmp_path}/s.tar: 2 processes")
    assert found == {"s.tar/m1.wav": b"1", "t.tar/n1.wav": b"3"}
    again, _ = replayed(replace(task, done=pa.array(["s.tar", "s.tar/m1.wav"])), Ledger())
    assert again == {"t.tar/n1.wav": b"3"}


def test_row_groups_of_a_shard_stay_together(tmp_path: Path) -> None:
    for name in "ab":
        write_parquet(tmp_path / f"{name}.parquet", [{"bytes": bytes([n]), "path": None} for n in range(6)])
    task = one_task(tmp_path)
    ledger = Ledger()
    ledger.begin("read 0")
    found, _ = replayed(task, ledger)
    assert found == {f"{name}.parquet/{n:08d}": bytes([n]) for name in "ab" for n in range(6)}
