"""A failure that another attempt may not meet is tried once more before the run is complete; others are not."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from pipeline import tokenize
from pipeline.run.committed import lasting
from pipeline.run.keys import Keys
from pipeline.run.layout import FAILURES, parts
from pipeline.run.parts import read_part
from pipeline.run.settle import settle
from pipeline.run.write import write_failures, write_table
from pipeline.schema import FAILURES_SCHEMA
from tests.helpers.flaky import flaky
from tests.helpers.rows import tone

MESSAGES = {
    "silent": ("UnreadableAudio", "http://h/a: cannot be read (Unreachable: 6 tries in 60 s, the last one: HTTP 503)"),
    "decoder": ("UnreadableAudio", "a.wav: it cannot be read (OSError: [Errno 116] Stale file handle). Check the path"),
    "gone": ("UnreadableAudio", "http://h/a: no such file or folder"),
    "denied": ("UnreadableAudio", "s3://b/a: permission denied (PermissionError: Forbidden)"),
    "text": ("NotAudio", "cannot be read (as audio).wav: no format is known that begins so"),
}


def test_which_failures_may_pass(tmp_path: Path) -> None:
    fs, run = LocalFileSystem(), str(tmp_path)
    (tmp_path / "failures").mkdir()
    rows = [
        {"id": id_, "source": id_, "stage": "read", "error": error, "message": text}
        for id_, (error, text) in MESSAGES.items()
    ]
    for row in rows:
        write_failures(pa.Table.from_pylist([row], FAILURES_SCHEMA), fs, run)
    done = pa.array([*MESSAGES, "with codes"])
    assert lasting(Keys(fs, run), done).to_pylist() == ["gone", "denied", "text", "with codes"]


def test_what_could_not_be_fetched_is_fetched_again(tmp_path: Path, small_model: Path, runs_in_process: None) -> None:
    clips = {}
    for name in ("/once.wav", "/twice.wav", "/never.wav", "/gone.wav"):
        soundfile.write(tmp_path / name[1:], tone(1.0, seed=len(clips)), 24_000)
        clips[name] = (tmp_path / name[1:]).read_bytes()

    def behave(path: str, before: int) -> str:
        if path == "/gone.wav":
            return "404"
        return "503" if path == "/never.wav" or (path == "/twice.wav" and before == 0) else "ok"

    with flaky(clips, behave) as server:
        manifest = tmp_path / "m.jsonl"
        manifest.write_text(
            "".join(json.dumps({"id": name[1:], "path": server.address + name}) + "\n" for name in clips)
        )
        run = tokenize(
            manifest,
            tmp_path / "run",
            model=str(small_model),
            reconstruct=False,
            quiet=True,
            settings={"input.retries": 0},
        )
        asked = {name[1:]: server.count(name) for name in clips}
    assert sorted(recording.id for recording in run) == ["once.wav", "twice.wav"]
    assert sorted(run.failures()["id"].to_pylist()) == ["gone.wav", "never.wav"]
    assert asked == {"once.wav": 1, "twice.wav": 2, "never.wav": 2, "gone.wav": 1}


@pytest.mark.parametrize("order", [("silent", "text"), ("text", "silent")])
def test_of_two_failures_the_one_that_lasts_is_kept(tmp_path: Path, order: tuple[str, str]) -> None:
    fs, run = LocalFileSystem(), str(tmp_path)
    (tmp_path / "failures").mkdir()
    for number, name in enumerate(order):
        error, message = MESSAGES[name]
        row = {"id": "a", "source": "a", "stage": "read", "error": error, "message": message}
        write_table(pa.Table.from_pylist([row], FAILURES_SCHEMA), fs, f"{run}/failures/part-{number:016x}.parquet")
    settle(Keys(fs, run))
    rows = [read_part(fs, path, FAILURES_SCHEMA) for path in parts(fs, run, FAILURES)]
    assert [row["error"] for table in rows for row in table.to_pylist()] == ["NotAudio"]
