"""`voxmill tokenize` of a part of a corpus: the first recordings, a shard, recordings of some lengths."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

import pipeline.flow
from actors.codec import Codec
from actors.pools.arrow import failure
from pipeline import open_run
from pipeline.cli.show import skipped_text
from pipeline.errors import UnreadableAudio
from pipeline.run.write import write_failures
from pipeline.schema import FAILURES_SCHEMA
from pipeline.settings import load_settings
from pipeline.sources.plan import remaining, unread
from pipeline.verify.check import check
from tests.helpers.commands import in_process, speak, voxmill
from tests.helpers.shards import write_tar


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def without_ray(codec: Codec) -> Iterator[None]:
    with in_process(codec):
        yield


@pytest.fixture
def command(tmp_path: Path, small_model: Path) -> list[object]:
    """Tokenize a folder of ten files and a tar of three into tmp_path/run."""
    speak(tmp_path / "corpus", {f"{number}.wav": 0.1 + number / 10 for number in range(10)})
    members = speak(tmp_path / "members", {f"m{number}.wav": 0.2 for number in range(3)})
    write_tar(tmp_path / "corpus" / "s.tar", [(path.name, path.read_bytes()) for path in sorted(members.iterdir())])
    small = ["--model", small_model, "--device", "cpu", "--no-reconstruct", "--set", "output.rows_per_part=4"]
    return ["tokenize", tmp_path / "corpus", *small, "--out", tmp_path / "run"]


FILES = [f"{number}.wav" for number in range(10)]
MEMBERS = [f"s.tar/m{number}.wav" for number in range(3)]


def ids(run: Path) -> list[str]:
    return sorted(recording.id for recording in open_run(run))


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def test_a_limit_and_then_the_rest(command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert voxmill(*command, "--limit", 4) == 0
    assert "the first 4 recordings; the same command without --limit goes on" in capsys.readouterr().out
    assert ids(run) == FILES[:4]
    assert not (run / "_SUCCESS").exists()
    assert check(run, [str(tmp_path / "corpus")]).problems == [
        "--limit asked for the first 4 recordings alone: run it without --limit"
    ]
    parts = {path: path.stat().st_mtime_ns for path in run.glob("codes/*")}
    assert voxmill(*command, "--limit", 4) == 0  # the same recordings: nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in run.glob("codes/*")} == parts
    assert voxmill(*command, "--limit", 12) == 0
    assert ids(run) == [*FILES, *MEMBERS[:2]]
    assert summary(run)["state"] == "limited"
    assert voxmill(*command) == 0
    assert ids(run) == [*FILES, *MEMBERS]
    assert (run / "_SUCCESS").exists()
    assert summary(run)["state"] == "complete"
    assert summary(run)["limit"] is None
    assert check(run, [str(tmp_path / "corpus")]).problems == []


def test_run_json_keeps_the_attempts_that_did_not_finish(
    command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(pipeline.flow, "execute", Mock(side_effect=RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            voxmill(*command)
    began = summary(tmp_path / "run")["running"]
    assert began["command"]
    assert voxmill(*command) == 0
    assert voxmill(*command) == 0
    assert summary(tmp_path / "run")["unfinished"] == [began]
    assert len(summary(tmp_path / "run")["attempts"]) == 2


def test_a_reading_that_lost_its_gpus_is_followed_by_another(
    command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is missing, and what could not be fetched before; then all recordings are asked for their waves."""
    execute, seen, waves = pipeline.flow.execute, [], Mock(return_value=[])

    def losing(job: Any, planned: Any, *more: Any) -> Any:
        seen.append(sorted(id_ for task in planned.tasks for id_ in task.units["@id"].to_pylist()))
        if len(seen) > 1:
            return execute(job, planned, *more)
        files = dataclasses.replace(planned, tasks=[task for task in planned.tasks if task.kind == "files"])
        attempt = execute(job, remaining(files, pa.array(["3.wav"]), {}), *more)
        attempt.held, attempt.lost, attempt.unheard = {}, True, True
        error = UnreadableAudio("3.wav: cannot be read (a stale mount)")
        rows = [row | failure("read", error) for row in unread(files) if row["id"] == "3.wav"]
        write_failures(pa.Table.from_pylist(rows, FAILURES_SCHEMA), job.fs, job.run)
        return attempt

    monkeypatch.setattr(pipeline.flow, "execute", losing)
    monkeypatch.setattr(pipeline.flow, "make_waves", waves)
    assert voxmill(*(one for one in command if one != "--no-reconstruct"), "--set", "output.waves=tar") == 0
    assert seen == [[*FILES, "s.tar"], ["3.wav", "s.tar"]]
    assert ids(tmp_path / "run") == [*FILES, *MEMBERS]
    assert not len(open_run(tmp_path / "run").failures())
    assert [call.args[2] for call in waves.call_args_list] == [None]
    assert len(summary(tmp_path / "run")["attempts"]) == 1


def test_a_limit_that_leaves_nothing_out(command: list[object], tmp_path: Path) -> None:
    (tmp_path / "corpus" / "s.tar").unlink()
    assert voxmill(*command, "--limit", 10) == 0
    assert summary(tmp_path / "run")["state"] == "complete"


def test_retries_keep_the_limit(command: list[object], tmp_path: Path) -> None:
    broken = tmp_path / "corpus" / "1.wav"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1000])
    assert voxmill(*command, "--limit", 3) == 0
    broken.write_bytes(whole)
    assert voxmill("retry", tmp_path / "run") == 0
    assert ids(tmp_path / "run") == FILES[:3]
    assert summary(tmp_path / "run")["state"] == "limited"


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_of_nothing(command: list[object], limit: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill(*command, "--limit", limit) == 2
    assert "expected at least 1 recording" in capsys.readouterr().err


def test_shards_hold_everything_once(command: list[object], tmp_path: Path) -> None:
    held = []
    for index in range(4):
        run = tmp_path / f"run-{index}"
        assert voxmill(*command[:-1], run, "--shard", f"{index}/4") == 0
        assert check(run, [str(tmp_path / "corpus")]).problems == []
        assert summary(run)["shard"] == f"{index}/4"
        held.append(ids(run))
    assert sorted(itertools.chain(*held)) == [*FILES, *MEMBERS]
    assert sum(any(id_ in MEMBERS for id_ in one) for one in held) == 1  # a container stays whole
    assert sum(map(bool, held)) > 1


def test_a_shard_without_a_recording_is_complete(command: list[object], tmp_path: Path) -> None:
    empty = []
    for index in range(16):
        run = tmp_path / f"run-{index}"
        assert voxmill(*command[:-1], run, "--shard", f"{index}/16") == 0
        assert (run / "_SUCCESS").exists()
        empty += [run] if not ids(run) else []
    assert empty
    assert check(empty[0], [str(tmp_path / "corpus")]).problems == []


def test_another_shard_is_refused(command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill(*command, "--shard", "1/4") == 0
    before = ids(tmp_path / "run")
    for other in (["--shard", "2/4"], ["--shard", "1/5"], []):
        assert voxmill(*command, *other) == 2
        assert "is shard 1/4 of its inputs" in capsys.readouterr().err
    assert ids(tmp_path / "run") == before
    assert voxmill(*command, "--shard", "1/4") == 0


@pytest.mark.parametrize("shard", ["4/4", "1", "-1/4", "a/b", "0/0", "1/4/2"])
def test_no_shard(command: list[object], shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill(*command, f"--shard={shard}") == 2
    assert "0 <= I < N" in capsys.readouterr().err


def test_recordings_of_other_lengths_are_skipped(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, corpus = tmp_path / "run", [str(tmp_path / "corpus")]
    bounds = ["--set", "input.min_s=0.3", "--set", "input.max_s=0.6", "--strict"]
    assert voxmill(*command, *bounds) == 0  # no failure, also under --strict
    printed = capsys.readouterr().out
    assert "skipped     9 shorter than 0.3 s or longer than 0.6 s" in printed
    assert ids(run) == FILES[2:6]  # of 0.3 s and of 0.6 s too
    found = open_run(run)
    assert len(found.failures()) == 0
    assert set(found.skipped()["stage"].to_pylist()) == {"skip"}
    assert sorted(found.skipped()["id"].to_pylist()) == [*FILES[:2], *FILES[6:], *MEMBERS]
    assert (summary(run)["counts"]["failures"], summary(run)["counts"]["skipped"]) == (0, 9)
    assert check(run, corpus).problems == []
    assert voxmill("retry", run) == 0  # there is nothing to retry
    assert ids(run) == FILES[2:6]


def test_other_bounds_look_at_skipped_ones_again(command: list[object], tmp_path: Path) -> None:
    run = tmp_path / "run"
    bounds = ["--set", "input.min_s=0.3", "--set", "input.max_s=0.6"]
    assert voxmill(*command, *bounds) == 0
    parts = {path: path.stat().st_mtime_ns for path in [*run.glob("codes/*"), *run.glob("skipped/*")]}
    assert voxmill(*command, *bounds) == 0
    assert {path: path.stat().st_mtime_ns for path in parts} == parts  # the same bounds: nothing is read again
    assert voxmill(*command, "--set", "input.max_s=0.4") == 0
    assert ids(run) == [*FILES[:6], *MEMBERS]  # what has codes keeps them
    assert check(run, [str(tmp_path / "corpus")]).problems == []
    assert voxmill(*command) == 0
    assert ids(run) == [*FILES, *MEMBERS]
    assert summary(run)["counts"]["skipped"] == 0
    assert check(run, [str(tmp_path / "corpus")]).problems == []


def test_a_long_recording_that_is_skipped_leaves_no_chunk(command: list[object], tmp_path: Path) -> None:
    run = tmp_path / "run"
    chunks = ["--set", "chunk.length_s=0.4", "--set", "chunk.context_s=0"]
    assert voxmill(*command, *chunks, "--set", "input.min_s=0.95", "--set", "input.max_s=0.96") == 0
    assert ids(run) == []
    assert voxmill(*command, *chunks, "--set", "input.min_s=0.95") == 0
    assert ids(run) == FILES[9:]
    assert check(run, [str(tmp_path / "corpus")]).problems == []


def test_everything_failed_or_was_skipped(command: list[object], tmp_path: Path) -> None:
    (tmp_path / "corpus" / "bad.wav").write_text("no audio")
    assert voxmill(*command, "--set", "input.min_s=9") == 1
    assert len(open_run(tmp_path / "run").failures()) == 1


def test_bounds_that_leave_nothing(command: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill(*command, "--set", "input.min_s=3", "--set", "input.max_s=2") == 2
    assert "no recording is left" in capsys.readouterr().err


def test_segments_are_skipped_unopened(tmp_path: Path, small_model: Path) -> None:
    speak(tmp_path, {"a.wav": 2.0})
    lines = [("a.wav", 0.0, 0.2), ("a.wav", 0.7, 1.2), ("gone.wav", 0.0, 5.0), ("a.wav", 1.0, 0.5)]
    rows = [{"path": path, "start_s": start, "end_s": end} for path, start, end in lines]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = ["--model", small_model, "--device", "cpu", "--no-reconstruct", "--out", tmp_path / "run"]
    assert (
        voxmill("tokenize", tmp_path / "list.jsonl", *small, "--set", "input.min_s=0.5", "--set", "input.max_s=2") == 0
    )
    run = open_run(tmp_path / "run")
    assert [one.id for one in run] == ["a.wav#0.7-1.2"]
    assert sorted(run.skipped()["id"].to_pylist()) == ["a.wav#0-0.2", "gone.wav#0-5"]
    assert run.failures()["error"].to_pylist() == ["SegmentOutside"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input.min_s": 0.5}, "shorter than 0.5 s"),
        ({"input.vad": "silero"}, "without speech"),
        ({"input.max_s": 30, "input.vad": "silero"}, "longer than 30 s or without speech"),
    ],
)
def test_what_is_skipped_in_words(changes: dict[str, Any], words: str) -> None:
    assert skipped_text(load_settings(None, changes).model_dump()) == words


def test_exit_codes_tell_failures_from_mistakes(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus" / "broken.wav").write_bytes(b"no audio")
    assert voxmill(*command) == 0
    assert voxmill(*command, "--strict") == 3
    assert voxmill(*command, "--max-failures", 0) == 3
    assert "1 recording of the run failed before, and max_failures is 0" in capsys.readouterr().err
    assert voxmill(*command, "--max-failures", "many") == 2
