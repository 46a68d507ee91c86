"""Stretches of speech in plans and parts: their ids, which files are done, what remains."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from pipeline.errors import InputError
from pipeline.run.committed import committed, lasting
from pipeline.run.keys import Keys
from pipeline.run.settle import settle
from pipeline.run.transient import BROKEN
from pipeline.run.write import write_failures, write_parts
from pipeline.schema import EACH, FAILURES_SCHEMA, parents, spoken_ids, stretch_id
from pipeline.sources.plan import plan, remaining, unread
from tests.helpers.rows import coded_row, tone
from tests.helpers.shards import write_files

LOCAL = LocalFileSystem()


def test_ids_of_stretches() -> None:
    assert stretch_id("a.wav", 0.0, 12345.678) == "a.wav#0-12345.678"
    assert stretch_id("a.wav@ch2", 1.5, 100.0) == "a.wav#1.5-100@ch2"
    assert stretch_id("a@ch0", 0.001, 2.0) == "a@ch0#0.001-2"
    for id_ in ("a.wav", "a@ch12", "a#1-2", "a#b@ch1"):
        assert spoken_ids(pa.array([stretch_id(id_, 0.5, 1.25)])).to_pylist() == [id_]
    assert spoken_ids(pa.array(["a#1", "a#1-", "a#x-y", "a"])).to_pylist() == ["a#1", "a#1-", "a#x-y", "a"]
    assert parents(pa.array(["a#1-2@ch1", "b"])).to_pylist() == ["a#1-2", "b", "a@ch1", "b", "a", "b"]


def test_a_large_file_is_not_shared_between_tasks(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(3.0), 24_000)
    for vad in (False, True):
        (task, *more) = plan([str(tmp_path)], vad=vad, task_bytes=1 << 12, chunk_samples=19_200).tasks
        assert bool(more) == ("@samples" in task.units.schema.names) == (not vad)


# ---- what is committed


def row(id_: str, stretches: int, channel: int | None = None) -> pa.Table:
    more = {name: pa.array([value], pa.int32()) for name, value in (("stretches", stretches), ("channel", channel))}
    return coded_row(id_, 1920, source_channels=pa.array([2], pa.int32()), **more)


def failed(id_: str, stretches: int | None, channel: int | None = None, message: str = "x") -> pa.Table:
    values = {"id": id_, "source": "", "channel": channel, "stretches": stretches, "stage": "read"}
    values |= {"source_channels": 2}
    return pa.Table.from_pylist([{**values, "error": "UnreadableAudio", "message": message}], FAILURES_SCHEMA)


def done(folder: Path) -> set[str]:
    return set(committed(Keys(LOCAL, str(folder))).ids.to_pylist())


def test_a_file_is_done_with_its_last_stretch(tmp_path: Path) -> None:
    write_parts(pa.concat_tables([row("a#1-2", 3), row("a#3-4", 3), row("b#1-2", 1)]), LOCAL, str(tmp_path))
    assert done(tmp_path) == {"a#1-2", "a#3-4", "b#1-2", "b"}
    write_failures(failed("a#5-6", 3), LOCAL, str(tmp_path))
    assert done(tmp_path) == {"a#1-2", "a#3-4", "a#5-6", "b#1-2", "b", "a"}


def test_a_file_is_done_with_the_last_stretch_of_its_last_channel(tmp_path: Path) -> None:
    write_parts(pa.concat_tables([row("a#1-2@ch1", 2, 1), row("a#3-4@ch1", 2, 1)]), LOCAL, str(tmp_path))
    assert done(tmp_path) == {"a#1-2@ch1", "a#3-4@ch1", "a@ch1"}
    write_failures(failed("a@ch2", None, 2), LOCAL, str(tmp_path))
    assert "a" in done(tmp_path)


def test_a_silent_channel_does_not_stand_for_the_others(tmp_path: Path) -> None:
    write_failures(failed("a@ch1", None, 1), LOCAL, str(tmp_path))
    assert done(tmp_path) == {"a@ch1"}
    write_failures(failed("a@ch2", None, 2), LOCAL, str(tmp_path))
    assert done(tmp_path) == {"a@ch1", "a@ch2", "a"}


def test_a_file_is_not_done_where_a_stretch_may_be_read_later(tmp_path: Path) -> None:
    write_parts(row("a#1-2@ch1", 2, 1), LOCAL, str(tmp_path))
    write_failures(failed("a#3-4@ch1", 2, 1, f"it {BROKEN}timed out)"), LOCAL, str(tmp_path))
    ids = committed(Keys(LOCAL, str(tmp_path))).ids
    assert "a@ch1" in ids.to_pylist()
    assert lasting(Keys(LOCAL, str(tmp_path)), ids).to_pylist() == ["a#1-2@ch1"]


@pytest.mark.parametrize("other", ["a#1-2.5", "a#1-2@ch1"])
def test_a_recording_with_the_id_of_a_stretch_is_refused(tmp_path: Path, other: str) -> None:
    rows = [{"id": id_, "path": "a.wav"} for id_ in ("a", "b#1-2", "c@ch1", other)]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert len(plan([str(tmp_path / "m.jsonl")]).tasks[0].units) == 4
    with pytest.raises(InputError, match=f"'{other}' has an id as stretches of speech in another recording get"):
        plan([str(tmp_path / "m.jsonl")], vad=True)


def test_what_is_done_of_a_channel_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav", "channel": 1}\n')
    done = pa.array(["a.wav#1-2@ch1", "b.wav#1-2@ch1", "a.wav#1-2"])
    (task,) = plan([str(tmp_path / "m.jsonl")], vad=True, done=done).tasks
    assert task.done.to_pylist() == ["a.wav#1-2@ch1"]


@pytest.mark.parametrize("channel", [None, EACH])
def test_what_remains_of_files(tmp_path: Path, channel: int | None) -> None:
    write_files(tmp_path, {f"{name}.wav": b"x" for name in "ab"})
    planned = plan([str(tmp_path)], channel=channel, vad=True, task_bytes=1 << 30, parallelism=1)
    mark = "@ch1" if channel == EACH else ""
    held = [
        [f"{id_}#{n}-{n + 1}{mark}" for id_ in task.units["@id"].to_pylist() for n in (1, 3)] for task in planned.tasks
    ]
    every = [id_ for ids in held for id_ in ids] + ["a.wav", "b.wav"]
    assert remaining(planned, pa.array(every), dict(enumerate(held))).tasks == []
    lost = f"b.wav#3-4{mark}"  # all that is known of the file is there
    left = remaining(planned, pa.array([id_ for id_ in every if id_ != lost]), dict(enumerate(held)))
    assert [one["id"] for one in unread(left)] == ["b.wav"]
    assert [task.done.to_pylist() for task in left.tasks] == [[f"b.wav#1-2{mark}"]]
    assert [one["id"] for one in unread(remaining(planned, pa.array([], pa.string()), {}))] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("parts", [["a#1-2", "a#3-4"], ["a@ch1", "a@ch2"], ["a#1-2@ch1", "a#3-4@ch1"]])
def test_a_file_whose_parts_are_all_there_did_not_fail(tmp_path: Path, parts: list[str]) -> None:
    """A reader failed, and the one after it did not."""
    whole = "a@ch1" if parts[0].startswith("a#") and "@" in parts[0] else "a"
    channel = [int(id_[-1]) if "@" in id_ else None for id_ in parts]
    stretches = [2 if "#" in id_ else None for id_ in parts]
    rows = [row(*one) for one in zip(parts, stretches, channel, strict=True)]  # type: ignore[arg-type]
    write_failures(failed(whole, None, channel[0]), LOCAL, str(tmp_path))
    write_parts(rows[0], LOCAL, str(tmp_path))
    settle(Keys(LOCAL, str(tmp_path)))
    assert whole in done(tmp_path)  # by its failure: the other part is missing
    write_parts(rows[1], LOCAL, str(tmp_path))
    settle(Keys(LOCAL, str(tmp_path)))
    assert not list((tmp_path / "failures").glob("*"))
    assert whole in done(tmp_path)
