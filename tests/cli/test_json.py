"""`--json`: one JSON object on stdout; what the commands say beside it goes to stderr."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.codec import Codec
from tests.helpers.commands import in_process, speak, voxmill


@pytest.fixture
def said(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command with --json; returns its exit code and the object."""
    corpus = speak(tmp_path / "corpus", {f"{n}.wav": 0.2 for n in range(4)})
    (corpus / "bad.wav").write_text("no audio")
    codec = Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)
    small = ["--model", small_model, "--device", "cpu", "--no-reconstruct"]

    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        with in_process(codec):
            code = voxmill(*arguments, "--json", *(small if arguments[0] == "tokenize" else []))
        return code, json.loads(capsys.readouterr().out)

    return run


def test_all_commands(said: Any, tmp_path: Path) -> None:
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    code, found = said("tokenize", corpus, "--out", run, "--strict")
    assert (code, found["state"], found["run"]) == (3, "complete", str(run))
    assert (found["counts"]["recordings"], found["errors"]) == (4, {"NotAudio": 1})
    code, found = said("show", run)
    assert (code, found["state"], found["recordings"], found["failures"]) == (0, "complete", 4, 1)
    assert said("show", run, "--id", "1.wav")[1]["num_samples"] == 4800
    assert said("show", run, "--id", "bad.wav")[1]["error"] == "NotAudio"
    code, found = said("check", run, "--inputs", corpus)
    assert (code, found["problems"], found["repaired"]) == (0, [], [])
    assert found["checked"][0].startswith("4 recordings, 4 chunks, 1 failure in ")
    listed = [{"audio": "0.wav", "snr": float("nan"), "more": [float("inf"), 1.5]}]
    (corpus / "m.jsonl").write_text("\n".join(map(json.dumps, listed)))
    said("tokenize", corpus / "m.jsonl", "--out", tmp_path / "listed")
    assert said("show", tmp_path / "listed", "--id", "0.wav")[1]["carried"] == {"snr": None, "more": [None, 1.5]}
    (corpus / "bad.wav").write_bytes((corpus / "1.wav").read_bytes())
    code, found = said("retry", run)
    assert (code, found["counts"]["recordings"], found["errors"]) == (0, 5, {})
    next((run / "codes").iterdir()).unlink()
    code, found = said("check", run, "--repair")
    assert code == 1
    assert len(found["problems"]) > 0
    assert len(found["repaired"]) > 0


def test_merge(said: Any, tmp_path: Path) -> None:
    for index in range(2):
        said("tokenize", tmp_path / "corpus", "--out", tmp_path / f"{index}", "--shard", f"{index}/2")
    code, found = said("merge", tmp_path / "0", tmp_path / "1", "--out", tmp_path / "all")
    assert (code, found["counts"]["recordings"], found["merged"]) == (0, 4, [str(tmp_path / "0"), str(tmp_path / "1")])


def test_a_skipped_recording_is_shown(said: Any, tmp_path: Path) -> None:
    said("tokenize", tmp_path / "corpus", "--out", tmp_path / "run", "--set", "input.min_s=1")
    found = said("show", tmp_path / "run", "--id", "1.wav")[1]
    assert (found["stage"], found["error"]) == ("skip", "Skipped")
    assert "less than input.min_s = 1" in found["message"]
