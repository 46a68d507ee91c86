"""`merge`: shards and other runs become one; what keeps them apart is refused before anything is written."""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

import pipeline.run.merge
from actors.codec import Codec
from pipeline import merge, open_run
from pipeline.errors import InputError, OutputError
from pipeline.run.keys import Keys
from pipeline.run.layout import WaveKind, wave_kind, wave_path
from pipeline.run.resume import mark
from pipeline.run.run_json import read_run_file, save
from pipeline.run.sums import checksums
from pipeline.run.totals import count
from pipeline.run.write import write_parts
from pipeline.storage.atomic import write_whole
from pipeline.storage.copy import copy_files
from pipeline.storage.filesystem import locate
from pipeline.verify.check import check
from tests.helpers.commands import in_process, speak, voxmill
from tests.helpers.rows import coded_row, failed_row, run_record
from tests.helpers.s3 import s3_server
from tests.helpers.store import Store

LOCAL = LocalFileSystem()


def make(location: str | Path, ids: str, **more: Any) -> str:
    """A complete run of these recordings, with a WAV each, and one failure."""
    fs, path = locate(str(location))
    failure = failed_row(f"bad-{ids}")
    write_parts(pa.concat_tables([*(coded_row(id_, 1920) for id_ in ids), failure]), fs, path)
    for id_ in ids:
        write_whole(fs, wave_path(f"{path}/wav", f"spk/{id_}"), lambda file, id_=id_: file.write(id_.encode()))
    settings = run_record()["settings"] | {"reconstruct": False} | more.pop("settings", {})
    record = run_record(settings=settings, counts=count(Keys(fs, path), 0) | {"passed_over": 2}, **more)
    save(fs, path, record | {"parts": checksums(fs, path, {})})
    mark(fs, path, complete=True)
    return str(location)


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def ids(run: str | Path) -> list[str]:
    return sorted(recording.id for recording in open_run(str(run)))


def test_merged_runs_are_one_run(tmp_path: Path) -> None:
    runs = [make(tmp_path / "one", "ab"), make(tmp_path / "two", "cde", inputs=["other/"])]
    merged = merge(runs, tmp_path / "all")
    assert ids(tmp_path / "all") == list("abcde")
    assert sorted(merged.failures()["id"].to_pylist()) == ["bad-ab", "bad-cde"]
    assert check(tmp_path / "all").problems == []
    summary = merged.summary()
    assert (summary["state"], summary["inputs"]) == ("complete", [os.path.abspath("corpus"), os.path.abspath("other")])
    assert (summary["counts"]["recordings"], summary["counts"]["failures"]) == (5, 2)
    assert len(summary["attempts"]) == 2
    assert "passed_over" not in summary["counts"]  # of different inputs
    for run in runs:
        for path in (path for path in Path(run).rglob("*") if path.is_file() and path.parent != Path(run)):
            assert path.samefile(tmp_path / "all" / path.relative_to(run))  # hard links


def test_shards_of_a_corpus(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = speak(tmp_path / "corpus", {f"{number}.wav": 0.2 for number in range(12)})
    (corpus / "bad.wav").write_text("no audio")
    codec = Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)
    monkeypatch.chdir(tmp_path)
    model = ["--model", small_model, "--device", "cpu", "--no-reconstruct", "--out"]
    command = ["tokenize", corpus, *model]
    with in_process(codec):
        shards = [tmp_path / f"shard-{index}" for index in range(3)]
        for index, shard in enumerate(shards):
            if index == 2:
                speak(corpus, {"late.wav": 0.2})
            assert voxmill(*command, shard, "--shard", f"{index}/3") in (0, 1)
        assert voxmill("merge", *shards, "--out", tmp_path / "all") == 2  # late.wav may be in one that is over
        assert "held something else when shard 2/3 began than when shard 0/3 did" in capsys.readouterr().err
        for index, shard in enumerate(shards):
            same = ("corpus/", corpus, corpus.as_uri())[index]
            assert voxmill("tokenize", same, *model, shard, "--shard", f"{index}/3") in (0, 1)
            assert summary_of(shard)["inputs"] == [str(corpus)]
        assert voxmill("merge", *shards, "--out", tmp_path / "all") == 0
        assert voxmill(*command, tmp_path / "whole") == 0
        assert check(tmp_path / "all", [str(corpus)]).problems == []
        one, other = open_run(tmp_path / "all"), open_run(tmp_path / "whole")
        assert len(one) == len(other) == 13
        assert all(np.array_equal(recording.codes, other[recording.id].codes) for recording in one)
        assert one.failures()["id"].to_pylist() == ["bad.wav"]
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "all").glob("*/part-*")}
        speak(corpus, {"new.wav": 0.3})
        assert voxmill(*command, tmp_path / "all") == 0  # goes on with all inputs
        assert len(open_run(tmp_path / "all")) == 14
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert check(tmp_path / "all", [str(corpus)]).problems == []


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    runs = [make(tmp_path / str(index), "abcd"[index], shard=f"{index}/4") for index in (0, 1, 3)]
    with pytest.raises(InputError, match=r"Shards 2/4 of /.*corpus are missing"):
        merge(runs, tmp_path / "all")
    runs.append(make(tmp_path / "2", "e", shard="2/4", inputs=[os.path.abspath("corpus")]))  # the others: "corpus/"
    assert merge(runs, tmp_path / "all").summary()["shard"] is None


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"attention": "window"}, r"attention is 'full' in .*one and 'window' in .*two"),
        ({"precision": "bf16"}, "precision is 'fp32' in .*'bf16'"),
        ({"resampler": "soxr 0.3 HQ"}, "resampler is 'soxr HQ' in .*'soxr 0.3 HQ'"),
        ({"track": 2}, "track is .* in .*one and 2 in"),
        ({"chunk": {"samples": 1920, "context_samples": 0}}, "chunk is .* in .*one and .*1920"),
        (
            {"settings": run_record()["settings"] | {"input": run_record()["settings"]["input"] | {"max_s": 9.0}}},
            r"settings\.input\.max_s is None in .*one and 9\.0",
        ),
        ({"vad": "silero-vad 6.2.3"}, "vad is None in .*'silero-vad 6.2.3'"),
        (
            {"model": {"id": "demo", "revision": None, "sha256": "1" * 64}},
            f"model.sha256 is '{'0' * 64}' in .*{'1' * 64}",
        ),
        ({"state": "running"}, "two is not complete"),
        ({"state": "limited", "limit": 3}, "two holds only the first 3 recordings .* without --limit"),
    ],
)
def test_runs_that_do_not_go_together(tmp_path: Path, more: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        merge([make(tmp_path / "one", "ab"), make(tmp_path / "two", "cd", **more)], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_a_model_by_another_name_is_the_same(tmp_path: Path) -> None:
    other = make(tmp_path / "two", "cd", model={"id": "/a/copy", "revision": None, "sha256": "0" * 64})
    assert len(merge([make(tmp_path / "one", "ab"), other], tmp_path / "all")) == 4


@pytest.mark.parametrize("order", [1, -1])
def test_a_run_without_waves_keeps_them_in_no_way(tmp_path: Path, order: int) -> None:
    settings = run_record()["settings"]
    tar = {"output": settings["output"] | {"waves": "tar", "wave_format": "flac"}}
    runs = [make(tmp_path / "one", "ab"), make(tmp_path / "two", "cd", settings=tar)]
    with pytest.raises(InputError, match=r"waves as files of wav, .*two as tar of flac"):
        merge(runs, tmp_path / "all")
    shutil.rmtree(tmp_path / "two" / "wav")
    merged = merge(runs[::order], tmp_path / "all")
    assert wave_kind(merged.summary()["settings"]) == WaveKind("files", "wav")


def test_an_id_in_two_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Several runs hold 1 common id, first 'b': in .*one and .*two"):
        merge([make(tmp_path / "one", "ab"), make(tmp_path / "two", "cb")], tmp_path / "all")
    with pytest.raises(InputError, match="Several runs"):
        merge([tmp_path / "one", tmp_path / "one"], tmp_path / "all")
    write_parts(failed_row("b"), LOCAL, str(tmp_path / "three"))
    make(tmp_path / "three", "x")
    with pytest.raises(InputError, match="first 'b'"):
        merge([tmp_path / "one", tmp_path / "three"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_columns_that_do_not_go_together(tmp_path: Path) -> None:
    write_parts(coded_row("x", 1920, speaker=pa.array(["a"])), LOCAL, str(tmp_path / "one"))
    write_parts(coded_row("y", 1920, speaker=pa.array([[1]])), LOCAL, str(tmp_path / "two"))
    with pytest.raises(OutputError, match="cannot be combined"):
        merge([make(tmp_path / "one", ""), make(tmp_path / "two", "")], tmp_path / "all")


def test_columns_of_any_part_that_do_not_go_together(tmp_path: Path) -> None:
    """The first parts lack the column."""
    write_parts(coded_row("x", 1920, speaker=pa.array([1])), LOCAL, str(tmp_path / "one"))
    write_parts(coded_row("y", 1920, speaker=pa.array(["a"])), LOCAL, str(tmp_path / "two"))
    for run in ("one", "two"):
        make(tmp_path / run, f"{run}-plain"[::-1][:2])
    runs = [tmp_path / "one", tmp_path / "two"]
    assert all(len(list((run / "codes").iterdir())) == 2 for run in runs)
    with pytest.raises(OutputError, match=r"cannot be combined.*one/codes/part.*two/codes/part"):
        merge(runs, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def damaged(run: Path) -> None:
    part = next((run / "codes").iterdir())
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def lost(run: Path) -> None:
    next((run / "codes").iterdir()).unlink()


def unlisted(run: Path) -> None:
    write_parts(coded_row("late", 1920), LOCAL, str(run))


def unsuccessful(run: Path) -> None:
    (run / "_SUCCESS").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damaged, "two: codes/part-.* has another sha256 than in run.json"),
        (lost, "two lacks 1 part of codes that its run.json names"),
        (unlisted, "two holds 1 part of codes that its run.json does not name"),
        (unsuccessful, "two has no _SUCCESS"),
    ],
)
def test_a_damaged_run(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    runs = [make(tmp_path / "one", "ab"), make(tmp_path / "two", "cd")]
    damage(tmp_path / "two")
    with pytest.raises((InputError, OutputError), match=says):
        merge(runs, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_where_it_cannot_go(tmp_path: Path) -> None:
    runs = [make(tmp_path / "one", "ab"), make(tmp_path / "two", "cd")]
    for out in (tmp_path / "one", tmp_path / "one" / "all"):
        with pytest.raises(InputError, match="lies in, the run"):
            merge(runs, out)
    with pytest.raises(OutputError, match="no merge of these runs"):
        merge(runs, make(tmp_path / "three", "ef"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="is not empty"):
        merge(runs, tmp_path / "mine")
    with pytest.raises(InputError, match="at least two"):
        merge(runs[:1], tmp_path / "all")
    for one in (runs[0], Path(runs[0]), open_run(runs[0])):
        with pytest.raises(InputError, match="takes a list of runs"):
            merge(one, tmp_path / "all")  # type: ignore[arg-type]
    assert len(merge([open_run(runs[0]), runs[1]], tmp_path / "all")) == 4


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", range(5))
def test_a_merge_that_was_killed_is_done_again(tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make(tmp_path / "one", "ab"), make(tmp_path / "two", "cd")]
    calls = itertools.count()

    def killed(*arguments: Any) -> None:
        if next(calls) == after:
            raise Killed
        copy_files(*arguments)

    monkeypatch.setattr(pipeline.run.merge, "copy_files", killed)
    if after < 4:
        with pytest.raises(Killed):
            merge(runs, tmp_path / "all")
        assert not (tmp_path / "all" / "_SUCCESS").exists()
        record = read_run_file(LOCAL, str(tmp_path / "all"))
        assert record is not None
        with pytest.raises(OutputError, match="merge that was killed"):
            pipeline.run.resume.resume(LOCAL, str(tmp_path / "all"), record)
        assert "run the same `voxmill merge` again" in check(tmp_path / "all").problems[0]
        with pytest.raises(OutputError, match="no merge of these runs"):
            merge([*runs, make(tmp_path / "three", "ef")], tmp_path / "all")
    monkeypatch.undo()
    merge(runs, tmp_path / "all")
    assert ids(tmp_path / "all") == list("abcd")
    assert check(tmp_path / "all").problems == []
    assert sorted(path.name for path in (tmp_path / "all" / "wav" / "spk").iterdir()) == [
        f"{id_}.wav" for id_ in "abcd"
    ]


def test_a_source_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make(tmp_path / "one", "ab"), make(tmp_path / "two", "cd")]

    def changing(*arguments: Any) -> None:
        copy_files(*arguments)
        save(LOCAL, runs[1], json.loads((tmp_path / "two" / "run.json").read_text()) | {"state": "running"})

    monkeypatch.setattr(pipeline.run.merge, "copy_files", changing)
    with pytest.raises(OutputError, match="two was written to"):
        merge(runs, tmp_path / "all")
    assert not (tmp_path / "all" / "_SUCCESS").exists()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Callable[[str], str]]:
    """The URI of a key in a bucket."""
    with s3_server("runs", {}) as endpoint:
        end = f"?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"
        yield lambda key: f"s3://k:s@runs/{key}{end}"


def test_on_an_object_store(tmp_path: Path, bucket: Callable[[str], str]) -> None:
    there = [make(bucket("one"), "ab"), make(bucket("two"), "cd")]
    here = make(tmp_path / "three", "ef")
    for number, (runs, out) in enumerate(
        [(there, bucket("all")), ([*there, here], str(tmp_path / "all")), ([here, there[0]], bucket("mixed"))]
    ):
        merged = merge(runs, out)
        assert ids(out) == list(("abcd", "abcdef", "abef")[number])
        assert check(out).problems == []
        first = wave_path(f"{merged.path}/wav", f"spk/{ids(out)[-1]}")
        with merged.fs.open_input_stream(first) as file:
            assert file.read() == ids(out)[-1].encode()
        assert "k:s" not in json.dumps(merged.summary())


def test_links_and_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("new content")
    (tmp_path / "there").write_text("other content")
    pairs = [(str(tmp_path / "old"), str(tmp_path / name)) for name in ("there", "deep/down/there", "there")]
    copy_files(LOCAL, LOCAL, pairs)
    assert (tmp_path / "there").samefile(tmp_path / "deep/down/there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "old", "there"]
    with pytest.raises(OutputError, match="gone"):
        copy_files(LOCAL, LOCAL, [(str(tmp_path / "gone"), str(tmp_path / "new"))])


def test_an_error_of_the_source_of_a_copy_is_its_own(tmp_path: Path) -> None:
    """Not one of the place where the copy goes."""
    source = Store(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("gone", "folder"):
        with pytest.raises(OutputError, match=rf"^{name}: ") as told:
            copy_files(source, LOCAL, [(name, str(tmp_path / "new"))])
        assert "written" not in str(told.value)
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").write_bytes(bytes(11 << 20))
    copy_files(source, LOCAL, [("there", str(tmp_path / "new"))])
    assert (tmp_path / "new").read_bytes() == bytes(11 << 20)
    with pytest.raises(OutputError, match=r"there/new: cannot be written"):
        copy_files(source, LOCAL, [("there", str(tmp_path / "there" / "new"))])


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev, reason="one disk"
)
def test_another_disk(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        merged = merge([make(tmp_path / "one", "ab"), make(Path(other, "two"), "cd")], tmp_path / "all")
        assert len(merged) == 4
    assert ids(tmp_path / "all") == list("abcd")
    assert pq.read_table(str(tmp_path / "all" / "codes")).num_rows == 4
