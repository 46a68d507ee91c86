"""Channels and segments in plans: what manifests say, what stays in one task, what of files of channels is done."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.errors import InputError
from pipeline.run.committed import committed, lasting
from pipeline.run.keys import Keys
from pipeline.run.transient import BROKEN
from pipeline.run.whole_files import whole_files
from pipeline.run.write import write_failures, write_parts
from pipeline.schema import EACH, FAILURES_SCHEMA, channel_id, file_ids
from pipeline.sources.inputs import discover_all
from pipeline.sources.pieces import by_file, split
from pipeline.sources.plan import Plan, plan, remaining, unread
from pipeline.sources.task import InputRecording
from tests.helpers.rows import coded_row
from tests.helpers.shards import cells, read, write_files, write_tar

LOCAL = LocalFileSystem()


def jsonl(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def found(planned: Plan) -> dict[str, InputRecording]:
    return {item.id: item for item in read(planned)}


def views(planned: Plan) -> list[tuple[str, float, float | None, int | None]]:
    return [(item.id, item.start_s, item.end_s, item.channel) for item in read(planned)]


# ---- manifests


def test_the_channel_of_a_manifest(tmp_path: Path) -> None:
    rows = [{"path": "a.wav", "channel": 1}, {"path": "a.wav", "channel": 2, "start_s": 1}, {"path": "a.wav"}]
    rows.append({"path": "b.wav", "id": "k", "channel": 7})
    planned = plan([jsonl(tmp_path / "m.jsonl", *rows)])
    assert views(planned) == [
        ("a.wav@ch1", 0.0, None, 1),
        ("a.wav#1-@ch2", 1.0, None, 2),
        ("a.wav", 0.0, None, None),
        ("k", 0.0, None, 7),
    ]
    assert planned.carried == pa.schema([])


def test_channels_of_csv_with_gaps(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,channel\na.wav,1.0\nb.wav,\n")  # as pandas writes them
    assert [item.channel for item in read(plan([str(tmp_path / "m.csv")]))] == [1, None]


def test_the_name_of_a_channel_is_text_that_travels(tmp_path: Path) -> None:
    planned = plan([jsonl(tmp_path / "m.jsonl", {"path": "a.wav", "channel": "BBC"})])
    assert [cells(item) for item in read(planned)] == [{"input_channel": "BBC"}]
    assert [item.channel for item in read(planned)] == [None]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "holds 0; channels are counted from 1"), (-1, "-1"), (1.5, "whole number")]
)
def test_what_is_no_channel_is_refused(tmp_path: Path, value: float, text: str) -> None:
    with pytest.raises(InputError, match=text):
        plan([jsonl(tmp_path / "m.jsonl", {"path": "a.wav", "channel": value})])


def test_offset_and_duration_are_bounds(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "a.wav", "offset": 1.1, "duration": 2.2, "text": "x"},
        {"audio_filepath": "a.wav", "offset": 4, "duration": None, "text": "y"},
        {"audio_filepath": "a.wav", "offset": None, "duration": 3.0, "text": "z"},
    ]
    planned = plan([jsonl(tmp_path / "m.jsonl", *rows)])
    assert views(planned) == [
        ("a.wav#1.1-3.3", 1.1, 3.3, None),
        ("a.wav#4-", 4.0, None, None),
        ("a.wav", 0.0, None, None),
    ]
    assert [cells(item)["duration"] for item in read(planned)] == [2.2, None, 3.0]


def test_a_duration_without_an_offset_only_describes(tmp_path: Path) -> None:
    planned = plan([jsonl(tmp_path / "m.jsonl", {"audio_filepath": "a.wav", "duration": 3.0})])
    assert views(planned) == [("a.wav", 0.0, None, None)]


def test_start_s_wins_over_offset(tmp_path: Path) -> None:
    row = {"path": "a.wav", "start_s": 1.0, "end_s": 2.0, "offset": 5.0, "duration": 5.0}
    assert views(plan([jsonl(tmp_path / "m.jsonl", row)])) == [("a.wav#1-2", 1.0, 2.0, None)]


# ---- tasks


def test_segments_of_one_file_stay_in_one_task(tmp_path: Path) -> None:
    rows = [{"path": f"{file}.wav", "start_s": n, "end_s": n + 1} for n in range(100) for file in "abc"]
    tasks = plan([jsonl(tmp_path / "m.jsonl", *rows)], task_bytes=1 << 20, parallelism=50).tasks
    assert sorted(task.units["@location"].unique().to_pylist() for task in tasks) == [
        [f"{tmp_path}/{file}.wav"] for file in "abc"
    ]
    first = read(replace(plan([str(tmp_path / "m.jsonl")]), tasks=tasks[:1]))
    assert [item.start_s for item in first] == list(range(100))


def test_a_file_of_very_many_segments_is_parted(tmp_path: Path) -> None:
    rows = [{"path": "a.wav", "start_s": n, "end_s": n + 1} for n in range(1000)]
    tasks = plan([jsonl(tmp_path / "m.jsonl", *rows)], task_bytes=1 << 20).tasks
    assert len(tasks) == 5  # 80 kB each, and 16 MiB in a task
    assert sum(len(task.units) for task in tasks) == 1000


def test_files_of_several_manifests_come_together(tmp_path: Path) -> None:
    """Their tables are chunks of one: a file that two of them name is one file."""
    for name, start in (("one", 0), ("two", 2)):
        jsonl(tmp_path / f"{name}.jsonl", *({"path": f"{file}.wav", "start_s": start, "end_s": 9} for file in "abc"))
    every = plan([str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")], task_bytes=1 << 40).tasks
    names = [location.rpartition("/")[2] for one in every for location in one.units["@location"].to_pylist()]
    assert names == ["a.wav", "a.wav", "b.wav", "b.wav", "c.wav", "c.wav"]


def test_files_without_views_stay_as_they_are(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{n}.wav": bytes(n) for n in range(20)})
    (one,) = discover_all([str(tmp_path)]).found
    assert by_file(one.units) is one.units
    assert [len(piece) for piece in split(one.units, 1)] == [1] * 20


# ---- every channel


def test_ids_of_channels() -> None:
    assert channel_id("a.wav", 12) == "a.wav@ch12"
    ids = pa.array(["a@ch1", "a@ch12", "a@ch", "a@ch0", "a@ch1/b.wav", "@ch2"])
    assert file_ids(ids).to_pylist() == ["a", "a", "a@ch", "a@ch0", "a@ch1/b.wav", ""]


def coded(id_: str, channel: int, channels: int) -> pa.Table:
    number = {"channel": pa.array([channel], pa.int32()), "source_channels": pa.array([channels], pa.int32())}
    return coded_row(id_, 1920, **number)


def failed(id_: str, channel: int | None, message: str = "x") -> pa.Table:
    row = {"id": id_, "source": "", "channel": channel, "stage": "read", "error": "UnreadableAudio", "message": message}
    return pa.Table.from_pylist([row], FAILURES_SCHEMA)


def test_files_of_which_every_channel_is_done() -> None:
    codes = [
        coded("a@ch1", 1, 2),
        coded("a@ch2", 2, 2),
        coded("b@ch1", 1, 2),
        coded("c@ch2", 2, 3),
        coded("d@ch1", 2, 1),
    ]
    failures = [failed("c@ch1", 1), failed("c@ch3", 3), failed("e@ch2", 2), failed("f@ch1", 1), failed("f@ch2", 2)]
    failures.append(failed("g", EACH))
    found = whole_files(pa.concat_tables(codes), pa.concat_tables(failures))
    assert sorted(found.to_pylist()) == ["a", "c", "f"]


def test_what_is_committed_of_channels(tmp_path: Path) -> None:
    long = [
        coded_row("a@ch2", 1920, n, 2, n, channel=pa.array([2], pa.int32()), source_channels=pa.array([2], pa.int32()))
        for n in range(2)
    ]
    write_parts(pa.concat_tables([coded("a@ch1", 1, 2), long[0], coded("b@ch1", 1, 1)]), LOCAL, str(tmp_path))
    done = committed(Keys(LOCAL, str(tmp_path)))
    assert sorted(done.ids.to_pylist()) == ["a@ch1", "b", "b@ch1"]
    assert done.partial == {"a@ch2": frozenset({0})}
    write_parts(long[1], LOCAL, str(tmp_path))
    assert "a" in committed(Keys(LOCAL, str(tmp_path))).ids.to_pylist()


def test_a_file_is_not_done_where_a_channel_may_be_read_later(tmp_path: Path) -> None:
    write_parts(coded("a@ch1", 1, 2), LOCAL, str(tmp_path))
    write_failures(failed("a@ch2", 2, f"it {BROKEN}timed out)"), LOCAL, str(tmp_path))
    done = committed(Keys(LOCAL, str(tmp_path))).ids
    assert "a" in done.to_pylist()
    assert lasting(Keys(LOCAL, str(tmp_path)), done).to_pylist() == ["a@ch1"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_files(tmp_path / "in", {f"{name}.wav": b"x" for name in "abc"})
    return tmp_path / "in"


def test_what_is_done_is_not_planned(corpus: Path) -> None:
    done = pa.array(["a.wav", "a.wav@ch1", "b.wav@ch1", "x.wav@ch1"])
    planned = plan([str(corpus)], channel=EACH, done=done)
    assert list(found(planned)) == ["b.wav", "c.wav"]
    assert [task.done.to_pylist() for task in planned.tasks if "b.wav" in task.units["@id"].to_pylist()] == [
        ["b.wav@ch1"]
    ]
    assert not any(task.listed for task in planned.tasks)
    assert planned.recordings is None
    assert all(task.listed for task in plan([str(corpus)], channel=2).tasks)


def test_what_remains_of_channels(corpus: Path) -> None:
    planned = plan([str(corpus)], channel=EACH, task_bytes=1 << 30)
    numbers = {task.units["@id"][0].as_py(): number for number, task in enumerate(planned.tasks)}
    held = {number: [f"{id_}@ch1", f"{id_}@ch2"] for id_, number in numbers.items()}
    for task in planned.tasks:
        held[numbers[task.units["@id"][0].as_py()]] = [
            f"{i}@ch{n}" for i in task.units["@id"].to_pylist() for n in (1, 2)
        ]
    every = [id_ for ids in held.values() for id_ in ids] + ["a.wav", "b.wav", "c.wav"]
    assert remaining(planned, pa.array(every), held).tasks == []
    lost = [id_ for id_ in every if id_ not in ("b.wav@ch2", "b.wav")]
    left = remaining(planned, pa.array(lost), held)
    assert list(found(left)) == ["b.wav"]
    assert [task.done.to_pylist() for task in left.tasks] == [["b.wav@ch1"]]
    assert [(row["id"], row["channel"]) for row in unread(left)] == [("b.wav", EACH)]
    hidden = [id_ for id_ in every if id_ != "b.wav@ch2"]  # all that is known of the file is there
    assert list(found(remaining(planned, pa.array(hidden), held))) == ["b.wav"]
    assert list(found(remaining(planned, pa.array(lost), {}))) == ["b.wav"]


def test_channels_of_a_segment(tmp_path: Path) -> None:
    """Their ids look like those of stretches of speech."""
    path = jsonl(tmp_path / "m.jsonl", {"path": "a.wav", "start_s": 1, "end_s": 2})
    (task,) = plan([path], channel=EACH, done=pa.array(["a.wav#1-2@ch1", "a.wav@ch1"])).tasks
    assert task.done.to_pylist() == ["a.wav#1-2@ch1"]
    held = {0: ["a.wav#1-2@ch1", "a.wav#1-2@ch2"]}
    left = remaining(plan([path], channel=EACH), pa.array(["a.wav#1-2@ch1", "a.wav#1-2"]), held)
    assert [row["id"] for row in unread(left)] == ["a.wav#1-2"]


def test_two_recordings_of_one_id_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "m.jsonl", {"path": "a.wav"}, {"path": "a.wav", "channel": 2})
    assert len(read(plan([path]))) == 2
    with pytest.raises(InputError, match=r"'a.wav@ch2' has the id that a channel of 'a.wav' gets"):
        plan([path], channel=EACH)


def test_members_have_the_channel_of_the_setting(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("a.wav", b"1"), ("b.wav", b"1")])
    for channel in (None, 2, EACH):
        assert [item.channel for item in read(plan([str(tmp_path)], channel=channel))] == [channel] * 2
