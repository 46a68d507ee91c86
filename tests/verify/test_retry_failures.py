"""Retried failures: only those, by kind; restored if the attempt is refused."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from pipeline import open_run, tokenize
from pipeline.errors import InputError, OutputError
from pipeline.run.committed import committed
from pipeline.run.layout import SUCCESS_FILE
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from pipeline.settings import Settings, load_settings
from pipeline.verify.check import check
from pipeline.verify.retry_failures import _refuse_unknown, drop_failures, flat_settings, recorded_settings, retry
from tests.helpers.commands import voxmill
from tests.helpers.rows import coded_row, failed_row, run_record, tone
from tests.helpers.store import Store

LOCAL = LocalFileSystem()


def test_failures_are_dropped_by_kind(tmp_path: Path) -> None:
    run = str(tmp_path)
    write_parts(pa.concat_tables([failed_row("a"), failed_row("b", "TruncatedAudio"), coded_row("c", 1)]), LOCAL, run)
    write_parts(failed_row("d", "EmptyAudio"), LOCAL, run)
    assert drop_failures(LOCAL, run, ["TooLong"]) == {}
    dropped = drop_failures(LOCAL, run, ["TruncatedAudio"])
    assert [rows["id"].to_pylist() for rows in dropped.values()] == [["b"]]
    assert sorted(committed(LOCAL, run).ids.to_pylist()) == ["a", "c", "d"]
    drop_failures(LOCAL, run, [])
    assert committed(LOCAL, run).ids.to_pylist() == ["c"]
    assert list((tmp_path / "failures").iterdir()) == []


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
    assert load_settings(None, dict(flat_settings(settings.model_dump(mode="json")))) == settings


def test_a_run_does_not_say_which_cluster_is_joined() -> None:
    settings = Settings.model_validate({"ray_address": "203.0.113.7:6379", "precision": "fp32"})
    recorded = recorded_settings({"settings": settings.model_dump(mode="json")})
    assert load_settings(None, recorded) == Settings(precision="fp32")


def test_no_run(tmp_path: Path) -> None:
    write_parts(failed_row("a"), LOCAL, str(tmp_path))
    with pytest.raises(InputError, match=r"no run\.json"):
        retry(tmp_path)


def test_an_interrupted_run_without_failures_is_left_to_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parts(coded_row("a", 1920), LOCAL, str(tmp_path))
    save(LOCAL, str(tmp_path), run_record(state="running", attempts=[]))
    for more in ([], ["--json"]):
        assert voxmill("retry", tmp_path, *more) == 2
        assert "is not complete: finish it with the command that began it" in capsys.readouterr().err
    save(LOCAL, str(tmp_path), run_record())
    assert len(retry(tmp_path)) == 1


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
    assert check(out, [str(corpus)]).problems == []

    shutil.copy(tmp_path / "whole" / "cut.wav", corpus)
    run = retry(out, ["TruncatedAudio"], quiet=True)
    assert sorted(recording.id for recording in run) == ["cut.wav", "good.wav"]
    assert run.failures().select(["id", "error"]).to_pylist() == [{"id": "text.wav", "error": "NotAudio"}]
    shutil.copy(tmp_path / "whole" / "text.wav", corpus)
    with pytest.raises(InputError, match=r"'text.wav' was read from"):
        tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True)
    run = retry(out, quiet=True)
    assert len(run.failures()) == 0
    assert retry(out).summary()["attempts"] == run.summary()["attempts"]  # nothing left to do: nothing done
    assert {path: path.stat().st_mtime_ns for path in good} == good
    assert check(out, [str(corpus)], sample=3).problems == []


def test_failures_of_a_store_are_dropped_side_by_side(tmp_path: Path) -> None:
    for number in range(6):
        rows = [failed_row(f"{number}"), *([failed_row(f"other {number}", "EmptyAudio")] if number % 2 else [])]
        write_parts(pa.concat_tables(rows), LOCAL, f"{tmp_path}/run")
    store = Store(tmp_path)
    with pytest.raises(InputError, match="Its failures: 6 NotAudio, 3 EmptyAudio"):
        _refuse_unknown(store, "run", ["TooLong"])
    assert store.most["open_input_file"] > 1
    dropped = drop_failures(store, "run", ["NotAudio"])
    assert list(dropped) == sorted(dropped)
    assert sorted(rows["id"].to_pylist() for rows in dropped.values()) == [[f"{number}"] for number in range(6)]
    assert sorted(committed(store, "run").ids.to_pylist()) == ["other 1", "other 3", "other 5"]
    assert min(store.most["delete_file"], store.most["open_output_stream"]) > 1
