"""`voxmill tokenize --dry-run`: what would be read; nothing written, no lock, no Ray, few files opened."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import soundfile

import pipeline.dry_run
from actors.codec import Codec
from pipeline.audio.duration import header_seconds
from pipeline.dry_run import MOST_OPENED, dry_run
from pipeline.errors import InputError
from pipeline.storage.access import Access
from pipeline.storage.opening import open_recording
from tests.helpers.commands import in_process, speak, voxmill
from tests.helpers.rooms import ROOT
from tests.helpers.rows import tone
from tests.helpers.shards import write_tar


def preview(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert voxmill("tokenize", *arguments, "--dry-run", "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = speak(tmp_path / "corpus", {f"{number}.wav": 3.6 for number in range(10)})
    (corpus / "notes.md").touch()
    found = preview(capsys, corpus, "--out", tmp_path / "run", "--set", "input.max_s=3")
    assert (found["files"], found["recordings"], found["containers"]) == (10, 10, {})
    assert (found["known"], found["known_h"], found["about_h"]) == (10, 0.01, 0.01)
    assert (found["passed_over"], found["skipped"], found["committed"]) == ({".md": 1}, 10, None)
    assert found["first_ids"] == [f"{number}.wav" for number in range(5)]
    assert found["tasks"] > 0
    assert voxmill("tokenize", corpus, "--out", tmp_path / "run", "--set", "input.max_s=3", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "0.0100, known for 10 of 10" in printed
    assert "10 of 10 whose length is known: longer than 3 s" in printed
    assert not (tmp_path / "run").exists()


def test_channels_are_counted_when_they_are_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((24_000, 2)), 24_000)
    printed = []
    for channels in ("mean", "split"):
        how = ["--dry-run", "--set", f"input.channels={channels}"]
        assert voxmill("tokenize", tmp_path, "--out", tmp_path / "run", *how) == 0
        printed.append(" ".join(capsys.readouterr().out.split()))
    assert "recordings 1 to read" in printed[0]
    assert "of each channel of 1 file to read: only opening them tells how many" in printed[1]
    assert ["for each further channel" in one for one in printed] == [False, True]


def test_many_files_are_estimated_by_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.dry_run, "MOST_OPENED", 7)
    assert MOST_OPENED == 200
    corpus = speak(tmp_path / "corpus", {f"{number:02}.wav": 0.5 for number in range(50)})
    opened: list[str] = []

    def counted(location: str, access: Access) -> Any:
        opened.append(location)
        return open_recording(location, access)

    monkeypatch.setattr(pipeline.dry_run, "open_recording", counted)
    found = dry_run(corpus, tmp_path / "run")
    assert (found.files, found.known) == (50, 7)
    assert found.known_h == round(3.5 / 3600, 4)
    assert found.about_h == round(25 / 3600, 4)
    assert len(set(opened)) == len(opened) == 7


def test_a_manifest_tells_lengths_and_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"path": f"{n}.wav", "duration": float(n), "text": "hello"} for n in range(10)]
    rows += [{"path": "long.wav", "start_s": 1.0, "end_s": 2.0 + n, "text": "there"} for n in range(3)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = preview(capsys, tmp_path / "list.jsonl", "--out", tmp_path / "run", "--set", "input.min_s=2")
    assert (found["files"], found["known"]) == (13, 13)
    assert found["known_h"] == round((45 + 6) / 3600, 4)
    assert found["skipped"] == 3
    assert found["columns"] == {"duration": "double", "text": "string"}


def test_lengths_that_cannot_be_add_nothing(tmp_path: Path) -> None:
    speak(tmp_path, {"a.wav": 3.6})
    bounds = ["0,1.8,", "1.8,,", "1,-2,", "-1,1,", "0,inf,", "9,,", ",,-5", ",,inf"]  # start_s, end_s, duration
    rows = [f"{number},a.wav,{one}\n" for number, one in enumerate(bounds)]
    (tmp_path / "list.csv").write_text("".join(["id,path,start_s,end_s,duration\n", *rows]))
    found = dry_run(tmp_path / "list.csv", tmp_path / "run")
    assert (found.files, found.known) == (8, 8)
    assert found.known_h == round((1.8 + 1.8 + 3.6 + 3.6) / 3600, 4)


def test_containers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [(f"{n}.wav", b"x") for n in range(9)]
    (tmp_path / "corpus").mkdir()
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / "corpus" / name, members)
    found = preview(capsys, tmp_path / "corpus", "--out", tmp_path / "run")
    assert (found["files"], found["recordings"], found["containers"]) == (0, None, {"tar": 2})
    assert found["first_ids"] == [f"a.tar/{n}.wav" for n in range(5)]
    assert found["known_h"] == 0
    assert voxmill("tokenize", tmp_path / "corpus", "--out", tmp_path / "run", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "those in 2 tar to read: only opening them tells how many" in said
    assert "hours        only opening the containers tells" in said


def test_a_run_that_is_there(tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, run = speak(tmp_path / "corpus", {f"{n}.wav": 0.1 * n + 0.1 for n in range(6)}), tmp_path / "run"
    (corpus / "bad.wav").write_text("no audio")
    command = [corpus, "--out", run]
    more = ["--model", small_model, "--device", "cpu", "--no-reconstruct", "--set", "input.min_s=0.3"]
    with in_process(Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)):
        assert voxmill("tokenize", *command, *more) == 0
    capsys.readouterr()
    speak(corpus, {"new.wav": 1.0})
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = preview(capsys, *command, "--set", "input.min_s=0.3")
    assert found["committed"] == {"recordings": 4, "failures": 1, "skipped": 2, "partial": 0}
    assert (found["files"], found["first_ids"]) == (1, ["new.wav"])
    again = preview(capsys, *command)  # other bounds: skipped ones are looked at again
    assert sorted(again["first_ids"]) == ["0.wav", "1.wav", "new.wav"]
    assert preview(capsys, *command, "--overwrite")["files"] == 8
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_shards_and_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = speak(tmp_path / "corpus", {f"{n}.wav": 0.1 for n in range(30)})
    held = [preview(capsys, corpus, "--out", tmp_path / "run", "--shard", f"{n}/3")["files"] for n in range(3)]
    assert sum(held) == 30
    assert all(held)
    assert preview(capsys, corpus, "--out", tmp_path / "run", "--limit", 4)["recordings"] == 4


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill("tokenize", tmp_path / "gone", "--out", tmp_path / "run", "--dry-run", "--json") == 2
    assert "gone" in capsys.readouterr().err
    assert voxmill("tokenize", tmp_path, "--out", tmp_path / "run", "--dry-run", "--limit", 0) == 2
    assert voxmill("tokenize", tmp_path, "--out", tmp_path / "run", "--dry-run", "--set", "input.min=3") == 2
    assert os.listdir(tmp_path) == []
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    command = ["tokenize", tmp_path / "clip.wav", "--dry-run", "--out"]
    assert voxmill(*command, tmp_path / "run") == 0
    for mistake in (
        [tmp_path / "run", "--precision", "fp17"],  # options are settings
        [tmp_path / "run", "--max-failures", "lots"],
        [tmp_path],  # not empty
        [tmp_path / "clip.wav"],
    ):
        assert voxmill(*command, *mistake) == 2, mistake


def test_what_inputs_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="An input is a ndarray; expected paths and URIs"):
        dry_run([np.zeros(24_000)], tmp_path / "run")  # type: ignore[list-item]
    with pytest.raises(InputError, match="An input is a NoneType; expected paths and URIs"):
        dry_run(None, tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"An input is a dict; .*is written to files first \(soundfile\.write\), or enc"
    ):
        dry_run({"one": (np.zeros(24_000), 24_000)}, tmp_path / "run")
    with pytest.raises(InputError, match=r"An input is a DataFrame; .*write it to a manifest \(Parquet or CSV\)"):
        dry_run(pandas.DataFrame({"path": ["clip.wav"]}), tmp_path / "run")
    speak(tmp_path, {"clip.wav": 0.1})
    assert dry_run((path for path in tmp_path.iterdir()), tmp_path / "run").files == 1


def test_the_first_item_that_is_no_path_ends_it(tmp_path: Path) -> None:
    rows = iter([{"text": "one"}, {"text": "two"}])
    with pytest.raises(InputError, match="An input is a dict"):
        dry_run(rows, tmp_path / "run")  # type: ignore[arg-type]
    assert next(rows) == {"text": "two"}


def test_no_ray_no_torch(tmp_path: Path) -> None:
    speak(tmp_path / "corpus", {"a.wav": 0.1})
    code = (
        "import sys; from pipeline.dry_run import dry_run; dry_run(sys.argv[1], sys.argv[2]);"
        "print({'ray', 'torch'} & set(sys.modules))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "corpus"), str(tmp_path / "run")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_lengths_of_headers(tmp_path: Path, form: str) -> None:
    soundfile.write(tmp_path / f"a.{form}", tone(3.0), 24_000)
    with open(tmp_path / f"a.{form}", "rb") as file:
        assert header_seconds(file) == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac"])
@pytest.mark.parametrize("content", [b"", b"no audio", b"RIFF\x04\0\0\0WAVE", np.random.default_rng(0).bytes(5000)])
def test_headers_that_tell_nothing(
    tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with open(tmp_path / name, "rb") as file:
        assert header_seconds(file) is None
    assert capfd.readouterr() == ("", "")
