"""What run.json says of the command: what was typed, no credentials; of a script or a notebook nothing."""

import json
import shlex
from pathlib import Path

import pytest

from pipeline.run.command_line import FROM_PYTHON, MOST_CHARS, command_line
from tests.helpers.commands import speak, voxmill
from tests.helpers.flaky import always, flaky

SECRETS = [
    "https://me:secret@host/a b.wav?sig=secret&x=secret",
    "s3://key:sec/secret@bucket/x?endpoint_override=h&secret_key=secret",
    "--set",
    "input.root=http://me:secret@host/?token=secret",
    "--out=gs://secret@bucket/run",
]


@pytest.mark.parametrize("by", ["/opt/venv/bin/voxmill", "/srv/voxmill/pipeline/__main__.py"])
def test_credentials_are_taken_out(by: str) -> None:
    said = command_line([by, "tokenize", "my corpus/", *SECRETS])
    assert "secret" not in said
    told = ["https://host/a b.wav", "s3://bucket/x", "--set", "input.root=http://host/", "--out=gs://bucket/run"]
    assert shlex.split(said) == ["voxmill", "tokenize", "my corpus/", *told]


@pytest.mark.parametrize(
    "argv", [[], [""], ["/usr/lib/ipykernel_launcher.py", "-f", "x"], ["train.py", "--token", "secret"]]
)
def test_arguments_of_others_are_not_written(argv: list[str]) -> None:
    assert command_line(argv) == FROM_PYTHON


def test_odd_names_and_many_files() -> None:
    command_line(["voxmill", "tokenize", "\udcff.wav"]).encode()
    many = command_line(["voxmill", "tokenize", *(f"{number}.wav" for number in range(2000))])
    assert len(many) < MOST_CHARS + 50
    assert many.endswith("characters")


@pytest.mark.usefixtures("runs_in_process")
def test_a_run_keeps_its_commands_and_no_secret(tmp_path: Path, small_model: Path) -> None:
    content = {"/a.wav": (speak(tmp_path, {"a.wav": 0.3}) / "a.wav").read_bytes()}
    with flaky(content, always("ok")) as server:
        address = server.address.replace("://", "://me:secret@")
        known = ["--model", small_model, "--no-reconstruct", "--ray-address", "ray://me:secret@head:1?token=secret"]
        given = [f"{address}/a.wav?sig=secret", *known, "--set", f"input.root={address}/?token=secret"]
        for more in ([], ["--limit", "1"]):
            assert voxmill("tokenize", *given, "--out", tmp_path / "run", *more) == 0
    text = (tmp_path / "run" / "run.json").read_text()
    assert "secret" not in text
    first, second = (attempt["command"] for attempt in json.loads(text)["attempts"])
    assert first.startswith(f"voxmill tokenize {server.address}/a.wav --model {small_model} --no-reconstruct")
    assert second == f"{first} --limit 1"
