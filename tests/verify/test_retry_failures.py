"""Retried failures: only those, by kind; restored if the attempt is refused."""

import contextlib
import functools
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import soundfile
from pyarrow.fs import FileSystem, LocalFileSystem

import pipeline.run.retrying
from pipeline import merge, open_run, tokenize
from pipeline.errors import InputError, OutputError
from pipeline.run.committed import committed
from pipeline.run.keys import Keys
from pipeline.run.layout import CODES, FAILURES, RETRYING, SUCCESS_FILE, parts
from pipeline.run.lock import locked
from pipeline.run.parts import read_part
from pipeline.run.reader import Run
from pipeline.run.retrying import put_back, set_aside
from pipeline.run.run_json import save
from pipeline.run.write import write_parts, write_table
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.settings import Settings, load_settings
from pipeline.verify.check import check
from pipeline.verify.retry_failures import _refuse_limited, _refuse_unknown, flat_settings, recorded_settings, retry
from tests.helpers.rows import coded_row, failed_row, tone
from tests.helpers.store import Store

LOCAL = LocalFileSystem()


def test_failures_are_dropped_by_kind(tmp_path: Path) -> None:
    run = str(tmp_path)
    write_parts(pa.concat_tables([failed_row("a"), failed_row("b", "TruncatedAudio"), coded_row("c", 1)]), LOCAL, run)
    write_parts(failed_row("d", "EmptyAudio"), LOCAL, run)
    set_aside(LOCAL, run, ["TooLong"])
    assert not (tmp_path / ".retrying").exists()
    set_aside(LOCAL, run, ["TruncatedAudio"])
    assert sorted(committed(Keys(LOCAL, run)).ids.to_pylist()) == ["a", "c", "d"]
    assert put_back(Keys(LOCAL, run)) == ["b"]
    set_aside(LOCAL, run, [])
    assert committed(Keys(LOCAL, run)).ids.to_pylist() == ["c"]
    assert list((tmp_path / "failures").iterdir()) == []
    write_parts(coded_row("d", 1), LOCAL, run)
    assert put_back(Keys(LOCAL, run)) == ["a", "b"]
    assert sorted(committed(Keys(LOCAL, run)).ids.to_pylist()) == ["a", "b", "c", "d"]
    assert list((tmp_path / ".retrying").iterdir()) == []
    assert put_back(Keys(LOCAL, run)) == []


@pytest.mark.parametrize("written", ["first", "second", "both"])
def test_failures_are_never_in_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """Killed between the two files that are changed, or after both."""
    run, write = str(tmp_path), pipeline.run.retrying.write_table

    def killed(table: pa.Table, fs: FileSystem, path: str) -> None:
        if written == "second" or (written == "first" and RETRYING not in path):
            raise KeyboardInterrupt
        write(table, fs, path)

    write_parts(pa.concat_tables([failed_row("a"), failed_row("b", "TruncatedAudio")]), LOCAL, run)
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr("pipeline.run.retrying.write_table", killed)
        set_aside(LOCAL, run, ["NotAudio"])
    assert put_back(Keys(LOCAL, run)) == (["a"] if written == "both" else [])
    rows = [row for part in parts(LOCAL, run, FAILURES) for row in read_part(LOCAL, part, FAILURES_SCHEMA).to_pylist()]
    assert sorted(row["id"] for row in rows) == ["a", "b"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": "1: 2", "ray_address": "null"},
        {"chunk": {"length_s": 60}, "input": {"schemes": ["file", "s3"], "column": "path"}},
    ],
)
def test_settings_come_back_as_they_were(changes: dict[str, Any]) -> None:
    settings = Settings.model_validate(changes)
    assert load_settings(None, flat_settings(settings.model_dump(mode="json"))) == settings


def test_a_run_does_not_say_which_cluster_is_joined() -> None:
    settings = Settings.model_validate({"ray_address": "203.0.113.7:6379", "precision": "fp32"})
    recorded = recorded_settings({"settings": settings.model_dump(mode="json")})
    assert load_settings(None, recorded) == Settings(precision="fp32")


def test_no_run(tmp_path: Path) -> None:
    write_parts(failed_row("a"), LOCAL, str(tmp_path))
    for run in (tmp_path, Run(str(tmp_path))):
        with pytest.raises(InputError, match=rf"^{tmp_path} holds no run\.json"):
            retry(run)


def speak(folder: Path, *names: str, broken: tuple[str, ...] = ()) -> Path:
    """A corpus of sound, and of files that are none."""
    folder.mkdir(exist_ok=True)
    for name in names:
        soundfile.write(folder / name, tone(0.3, seed=len(name)), 24_000)
    for name in broken:
        (folder / name).write_text("not audio")
    return folder


def failed(run: Path) -> list[str]:
    assert open_run(run).summary()["counts"]["failures"] == len(open_run(run).failures())
    return sorted(open_run(run).failures()["id"].to_pylist())


@pytest.mark.usefixtures("runs_in_process")
def test_failures_that_the_inputs_do_not_hold_stay(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = speak(tmp_path / "one", "a.wav", broken=("bad1.wav", "bad2.wav"))
    two, out = speak(tmp_path / "two", "b.wav", broken=("bad3.wav",)), tmp_path / "run"
    for corpus in (one, two):
        tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    speak(one, "bad1.wav")
    (one / "bad2.wav").unlink()
    speak(two, "bad3.wav")
    run = retry(out, inputs=one)
    assert "2 failures kept: these inputs do not hold their recordings, such as bad" in capsys.readouterr().err
    assert failed(out) == ["bad2.wav", "bad3.wav"]
    assert (len(run), (out / SUCCESS_FILE).exists(), run.summary()["state"]) == (3, True, "complete")
    retry(out, inputs=str(two), quiet=True)
    assert failed(out) == ["bad2.wav"]
    assert check(out).problems == []


@pytest.mark.usefixtures("runs_in_process")
@pytest.mark.parametrize("merged", [False, True])
def test_inputs_are_read_again_as_they_were(tmp_path: Path, small_model: Path, merged: bool) -> None:
    """Two manifests of the same names in different folders: the wrong folder would be wrong audio."""
    out, manifests = tmp_path / "run", []
    for name, length in (("one", 1.0), ("two", 2.0)):
        corpus = speak(tmp_path / name, broken=("u.wav",))
        (tmp_path / f"{name}.jsonl").write_text(f'{{"id": "{name}", "audio": "u.wav"}}\n')
        manifests.append(str(tmp_path / f"{name}.jsonl"))
        here = tmp_path / f"run-{name}" if merged else out
        how = {"input.root": str(corpus)}
        tokenize(manifests[-1], here, settings=how, model=str(small_model), reconstruct=False, quiet=True)
        soundfile.write(corpus / "u.wav", tone(length), 24_000)
    if merged:
        merge([tmp_path / "run-one", tmp_path / "run-two"], out)
    with pytest.raises(InputError, match=r"one.jsonl was read with input.root=.*one.*two.jsonl with .*two.* --inputs"):
        retry(out, quiet=True)
    shutil.copy(manifests[0], tmp_path / "moved.jsonl")
    with pytest.raises(InputError, match=r"moved.jsonl is no input of the run, .* with different input.root: .*--set"):
        retry(out, inputs=[str(tmp_path / "moved.jsonl")], quiet=True)
    assert failed(out) == ["one", "two"]
    for name in manifests:
        retry(out, inputs=[name], quiet=True)
    assert failed(out) == []
    assert {one.id: (round(one.duration_s), one.source) for one in open_run(out)} == {
        "one": (1, str(tmp_path / "one" / "u.wav")),
        "two": (2, str(tmp_path / "two" / "u.wav")),
    }
    assert list(open_run(out).summary()["read_as"]) == manifests[:1]
    assert check(out, manifests[1:]).problems == []
    assert check(out, manifests[:1]).problems == []


@pytest.mark.usefixtures("runs_in_process")
def test_a_share_of_failures_that_is_allowed_allows_a_retry(tmp_path: Path, small_model: Path) -> None:
    names = [f"{number}.wav" for number in range(7)]
    corpus, out = speak(tmp_path / "corpus", *names, broken=("bad.wav",)), tmp_path / "run"
    again = functools.partial(tokenize, corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    again(limit=6, max_failures="20%")
    again(max_failures="20%")
    for run in (open_run(out), retry(out, quiet=True), again(limit=2, max_failures="20%")):
        assert (len(run), failed(out), run.summary()["state"]) == (7, ["bad.wav"], "complete")
        assert run.summary()["limit"] is None
        assert (out / SUCCESS_FILE).exists()


@pytest.mark.usefixtures("runs_in_process")
@pytest.mark.parametrize("where", ["discover_all", "execute", "finish"])
def test_a_retry_that_is_interrupted_goes_on(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stop(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    corpus, out = speak(tmp_path / "corpus", "a.wav", broken=("b.wav",)), tmp_path / "run"
    tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    speak(corpus, "b.wav")
    before = (out / "run.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(f"pipeline.flow.{where}", stop)
        with pytest.raises(KeyboardInterrupt):
            retry(out, quiet=True)
    assert sorted(committed(Keys(LOCAL, str(out))).ids.to_pylist()) == ["a.wav", "b.wav"]
    if where == "discover_all":  # before anything was written
        assert (out / "run.json").read_bytes() == before
    assert (out / SUCCESS_FILE).exists() == (where == "discover_all")
    run = retry(out, quiet=True)
    assert (len(run), failed(out), run.summary()["state"], (out / SUCCESS_FILE).exists()) == (2, [], "complete", True)


@pytest.mark.usefixtures("runs_in_process")
def test_a_limit_of_other_inputs_is_refused(tmp_path: Path, small_model: Path) -> None:
    one = speak(tmp_path / "one", "a.wav", broken=("bad.wav",))
    two, out = speak(tmp_path / "two", "b.wav", "cc.wav"), tmp_path / "run"
    tokenize(one, out, model=str(small_model), reconstruct=False, quiet=True)
    tokenize(two, out, model=str(small_model), reconstruct=False, quiet=True, limit=1)
    speak(one, "bad.wav")
    before = (out / "run.json").read_bytes()
    for inputs in (None, [str(one)]):
        with pytest.raises(InputError, match=r"only the first 1 recording of .*two\. Do it again without --limit"):
            retry(out, inputs=inputs, quiet=True)
    assert (out / "run.json").read_bytes() == before
    retry(out, inputs=[str(two)], quiet=True)
    tokenize(two, out, model=str(small_model), reconstruct=False, quiet=True)
    retry(out, quiet=True)
    assert failed(out) == []
    assert check(out, [str(one), str(two)]).problems == []


def test_a_limited_input_is_known_by_any_credentials() -> None:
    summary = {"limit": 2, "state": "limited", "pending": ["s3://bucket/c/"], "inputs": ["s3://bucket/c/"]}
    _refuse_limited(summary, ["s3://key:secret@bucket/c/"])
    with pytest.raises(InputError, match="first 2 recordings of s3://bucket/c/"):
        _refuse_limited(summary, ["s3://key:secret@bucket/d/"])


@pytest.mark.usefixtures("runs_in_process")
@pytest.mark.parametrize("file", ["gone", "there"])
def test_a_retry_killed_within_a_long_recording(tmp_path: Path, small_model: Path, file: str) -> None:
    """What it committed of it does not stay beside the failure."""
    corpus, out = speak(tmp_path / "corpus", "a.wav", broken=("long.wav",)), tmp_path / "run"
    settings = {"chunk.length_s": 0.16}
    again = functools.partial(
        tokenize, corpus, out, model=str(small_model), reconstruct=False, quiet=True, settings=settings
    )
    again()
    speak(corpus, "long.wav")
    with locked(LOCAL, str(out)):
        set_aside(LOCAL, str(out), [])
    again()
    (out / SUCCESS_FILE).unlink()
    sums = {}
    for part in parts(LOCAL, str(out), CODES):
        rows = read_part(LOCAL, part, CODES_SCHEMA)
        kept = rows.filter(pc.or_(pc.not_equal(rows["id"], "long.wav"), pc.equal(rows["chunk"], 0)))
        sums[part.rpartition("/")[2]] = write_table(kept, LOCAL, part)
    write_table(failed_row("long.wav").select(FAILURES_SCHEMA.names), LOCAL, f"{out}/{RETRYING}/part-0.parquet")
    save(LOCAL, str(out), {**open_run(out).summary(), "state": "running", "parts": sums})
    assert put_back(Keys(LOCAL, str(out))) == []  # not beside its codes
    if file == "gone":
        (corpus / "long.wav").unlink()
    retry(out, quiet=True)
    assert failed(out) == (["long.wav"] if file == "gone" else [])
    assert check(out).problems == []
    assert sorted(one.id for one in open_run(out)) == ["a.wav", "long.wav"][: 1 if file == "gone" else 2]


@pytest.mark.usefixtures("runs_in_process")
@pytest.mark.parametrize("then", ["retry", "tokenize"])
def test_a_retry_that_is_killed_loses_no_failure(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    corpus, out = speak(tmp_path / "corpus", "a.wav", broken=("b.wav", "gone.wav")), tmp_path / "run"
    again = functools.partial(tokenize, corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    again()
    speak(corpus, "b.wav")
    (corpus / "gone.wav").unlink()
    if (child := os.fork()) == 0:
        monkeypatch.setattr("pipeline.flow.execute", lambda *given, **more: os._exit(9))  # out of memory, say
        retry(out, quiet=True)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (out / SUCCESS_FILE).exists()
    run = retry(out, quiet=True) if then == "retry" else again()
    assert (sorted(recording.id for recording in run), failed(out)) == (["a.wav", "b.wav"], ["gone.wav"])
    assert check(out).problems == []


@pytest.mark.usefixtures("runs_in_process")
def test_a_retry_whose_run_was_taken_meanwhile(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failures are those of the command that took it."""
    corpus, out = speak(tmp_path / "corpus", "a.wav", broken=("b.wav", "gone.wav")), tmp_path / "run"
    again = functools.partial(tokenize, corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    again()
    (corpus / "gone.wav").unlink()
    held = contextlib.ExitStack()

    def taken(*given: object, **more: object) -> None:
        held.enter_context(locked(LOCAL, str(out)))
        raise OutputError("in use")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.verify.retry_failures.tokenize", taken)
        with pytest.raises(OutputError, match="in use"):
            retry(out, quiet=True)
    held.close()
    again()
    assert failed(out) == ["b.wav", "gone.wav"]


@pytest.mark.usefixtures("runs_in_process")
def test_a_retry_does_not_do_again_what_has_codes(tmp_path: Path, small_model: Path) -> None:
    corpus, out = speak(tmp_path / "corpus", "a.wav", broken=("b.wav",)), tmp_path / "run"
    settings = {"input.changed": "redo"}
    tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True, settings=settings)
    soundfile.write(corpus / "a.wav", tone(2.0), 24_000)
    with pytest.raises(InputError, match=r"'a.wav' was read from"):
        retry(out, quiet=True)
    assert failed(out) == ["b.wav"]


@pytest.mark.usefixtures("runs_in_process")
def test_a_file_that_was_mended_is_tokenized(tmp_path: Path, small_model: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "run"
    corpus.mkdir()
    for name in ("good.wav", "cut.wav", "text.wav"):
        soundfile.write(corpus / name, tone(1.0, seed=len(name)), 24_000)
    shutil.copytree(corpus, tmp_path / "whole")
    (corpus / "cut.wav").write_bytes((corpus / "cut.wav").read_bytes()[:-1000])
    (corpus / "text.wav").write_text("not audio")
    tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    good = {path: path.stat().st_mtime_ns for path in (out / "codes").iterdir()}

    with pytest.raises(InputError, match=r"'TooLong'.*1 TruncatedAudio|'TooLong'.*1 NotAudio"):
        retry(out, ["TooLong"])
    with pytest.raises(OutputError, match="attention"):
        retry(out, settings={"attention": "window"})
    assert sorted(open_run(out).failures()["id"].to_pylist()) == ["cut.wav", "text.wav"]
    assert (out / SUCCESS_FILE).exists()
    assert check(out, corpus).problems == check(out, str(corpus)).problems == check(out, [corpus]).problems == []

    shutil.copy(tmp_path / "whole" / "cut.wav", corpus)
    run = retry(out, "TruncatedAudio", quiet=True)
    assert sorted(recording.id for recording in run) == ["cut.wav", "good.wav"]
    assert run.failures().select(["id", "error"]).to_pylist() == [{"id": "text.wav", "error": "NotAudio"}]
    shutil.copy(tmp_path / "whole" / "text.wav", corpus)
    with pytest.raises(InputError, match=r"'text.wav' was read from"):
        tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    run = retry(out, quiet=True)
    assert len(run.failures()) == 0
    assert retry(run).summary()["attempts"] == run.summary()["attempts"]  # nothing left to do: nothing done
    assert {path: path.stat().st_mtime_ns for path in good} == good
    assert check(out, [str(corpus)], sample=3).problems == []


def test_failures_of_a_store_are_dropped_side_by_side(tmp_path: Path) -> None:
    for number in range(6):
        rows = [failed_row(f"{number}"), *([failed_row(f"other {number}", "EmptyAudio")] if number % 2 else [])]
        write_parts(pa.concat_tables(rows), LOCAL, f"{tmp_path}/run")
    store = Store(tmp_path)
    (tmp_path / "run" / RETRYING).mkdir()  # a store has no folders
    with pytest.raises(InputError, match="Its failures: 6 NotAudio, 3 EmptyAudio"):
        _refuse_unknown(store, "run", ["TooLong"])
    assert store.most["open_input_file"] > 1
    set_aside(store, "run", ["NotAudio"])
    assert sorted(committed(Keys(store, "run")).ids.to_pylist()) == ["other 1", "other 3", "other 5"]
    assert min(store.most["delete_file"], store.most["open_output_stream"]) > 1
    assert sorted(put_back(Keys(store, "run"))) == [f"{number}" for number in range(6)]
