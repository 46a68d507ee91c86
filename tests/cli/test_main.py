"""The command line: exit codes, messages, no partial output."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pipeline.cli.main
from pipeline.cli.demo import CLIPS
from tests.helpers.commands import speak, voxmill

COMMAND = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


def test_help_answers_at_once() -> None:
    start = time.monotonic()
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "tokenize" in done.stdout
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pipeline.cli.main; print({'ray', 'torch', 'pyarrow', 'numpy'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "set()"  # what would make it slow
    assert time.monotonic() - start < 10


def test_output_that_cannot_be_written_is_one_message() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "voxmill: Standard output: cannot be written (No space left on device).\n"
    for closed in ("| true", ">&-"):
        command = ["bash", "-c", f'set -o pipefail; "$@" --help {closed}', "-", *COMMAND]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_is_json_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding, "backslashreplace", write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        pipeline.cli.main._print_json({"id": "grün"})
    assert json.loads(raw.getvalue()) == {"id": "grün"}
    assert ("grün".encode() in raw.getvalue()) == (encoding == "utf-8")


def test_names_that_are_not_utf_8_are_one_message(tmp_path: Path) -> None:
    ascii_alone = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    folder = str(tmp_path / "grün")
    for environment, name, encoding in ((os.environ, b"caf\xe9.wav", "utf-8"), (ascii_alone, folder, "ascii")):
        command = [*COMMAND, "show", name]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("voxmill: '")
        assert "is not read as UTF-8" in done.stderr
        assert done.stderr.endswith(f"the locale's encoding is another one ({encoding}).\n")
    unknown = [*COMMAND, "show", str(tmp_path)]
    done = subprocess.run(unknown, capture_output=True, text=True, env=ascii_alone, check=False)
    assert "holds no run" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run(tmp_path: Path, small_model: Path, number: signal.Signals, code: int) -> None:
    """SIGTERM is what schedulers send before they kill; Ray's own handler for it would print a stack."""
    speak(tmp_path / "corpus", {f"{clip}.wav": 20.0 for clip in range(50)})
    arguments = ["tokenize", str(tmp_path / "corpus"), "--out", str(tmp_path / "run"), "--model", str(small_model)]
    arguments += ["--no-reconstruct", "--set", "output.rows_per_part=4"]
    started = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True)
    give_up = time.monotonic() + 120
    while not list(tmp_path.glob("run/codes/part-*.parquet")):
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.1)
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert started.returncode == code
    _, ours, rest = said.partition("voxmill: stopped; committed parts are kept")
    assert ours
    later = [line for line in rest.splitlines()[1:] if "(raylet)" not in line]  # Ray's threads may have the last word
    assert not later or later[-1] == "TypeError: No owner found for object."
    assert "***" not in said
    assert not (tmp_path / "run" / "_SUCCESS").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux which signals a process handles")
def test_sigterm_reaches_a_command_without_a_run() -> None:
    """The first process of a container ignores it where nobody handles it."""
    command = [*COMMAND, "tokenize", "-", "--out", "run", "--dry-run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        caught, handled = 0, 1 << (signal.SIGTERM - 1)
        while not caught & handled:
            assert waiting.poll() is None
            time.sleep(0.02)
            caught = int(Path(f"/proc/{waiting.pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
        waiting.terminate()
        assert waiting.wait(20) == 143
        assert waiting.stderr is not None
        assert waiting.stderr.read() == "voxmill: stopped\n"


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (["tokenize", "x", "--out", "y"], "the same command"),
        (["tokenize", "x", "--out", "y", "--overwrite"], "the same command without --overwrite"),
        (["tokenize", "x", "--out", "y", "--dry-run"], None),
        (["retry", "y"], "the same command"),
        (["export", "y", "--to", "npy", "--out", "z"], "the same command"),
        (["check", "y"], None),
        (["stream", "encode"], None),
    ],
)
def test_what_ctrl_c_says(
    words: list[str], again: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise SystemExit(130)

    monkeypatch.setattr(sys, "argv", ["voxmill", *words])
    monkeypatch.setattr(pipeline.cli.main, "app", stopped)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        pipeline.cli.main.main()
    goes_on = f"; committed parts are kept, {again} continues from there" if again else ""
    assert capsys.readouterr().err == f"voxmill: stopped{goes_on}\n"


@pytest.mark.usefixtures("runs_in_process")
def test_tokenize_and_show(tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(CLIPS / "pt", corpus)
    shutil.copy(CLIPS / "it" / "broken.flac", corpus)
    out = tmp_path / "run"
    arguments = ("tokenize", corpus, "--out", out, "--model", small_model, "--no-reconstruct")
    assert voxmill(*arguments) == 0
    printed = capsys.readouterr().out
    assert "recordings  1" in printed
    assert "broken.flac: TruncatedAudio" in printed
    assert str(out / "codes") in printed
    assert voxmill(*arguments, "--strict") == 3

    capsys.readouterr()
    assert voxmill("show", out) == 0
    assert "1 TruncatedAudio (read)" in capsys.readouterr().out
    assert voxmill("show", out, "--id", "telefone.wav") == 0
    assert "int16 [34, 16]" in capsys.readouterr().out
    assert voxmill("show", out, "--id", "broken.flac") == 0
    assert "set input.allow_truncated" in capsys.readouterr().out
    assert voxmill("show", out, "--id", "nobody") == 2


@pytest.mark.usefixtures("runs_in_process")
def test_nothing_could_be_tokenized(tmp_path: Path, small_model: Path) -> None:
    nothing = ("--set", "reconstruct=false", "--model", small_model)
    assert voxmill("tokenize", CLIPS / "it", "--out", tmp_path / "run", *nothing) == 1


@pytest.mark.usefixtures("runs_in_process")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "chunk.lenght_s=3"], "Did you mean 'chunk.length_s'"),
        (["--set", "chunk"], "key=value"),
        (["--precision", "fp16"], "fp16"),
        (["--precision", "fp8"], "fp32"),
        (["--device", "cuda"], "no GPU"),
        (["--model", "./no-such-folder"], "no-such-folder"),
        (["--model", "nobody/nothing"], "voxmill demo"),
        (["--config", "no.yaml"], "no.yaml"),
    ],
)
def test_a_mistake_is_one_message(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    model = [] if "--model" in arguments else ["--model", small_model]
    assert voxmill("tokenize", CLIPS, "--out", tmp_path / "run", *model, *arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("runs_in_process")
def test_inputs_and_outputs_that_cannot_be(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", small_model]
    assert voxmill("tokenize", tmp_path / "nothing", "--out", tmp_path / "run", *model) == 2
    assert "no such file or folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert voxmill("tokenize", tmp_path / "empty", "--out", tmp_path / "run", *model) == 2
    assert "empty" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("mine")
    assert voxmill("tokenize", CLIPS, "--out", tmp_path / "taken", *model) == 2
    assert "holds no run" in capsys.readouterr().err
    for arguments in ((CLIPS, "--out", ""), ("", "--out", tmp_path / "run"), (CLIPS, "--out", "s3:/bucket/run")):
        assert voxmill("tokenize", *arguments, *model) == voxmill("tokenize", *arguments, "--dry-run") == 2
    assert not (tmp_path / "run").exists()
    assert "did you mean s3://bucket/run?" in capsys.readouterr().err
    (tmp_path / "file").write_text("a file")
    assert voxmill("tokenize", CLIPS, "--out", tmp_path / "file", *model) == 2
    assert voxmill("show", tmp_path / "empty") == 2


@pytest.mark.usefixtures("runs_in_process")
def test_a_model_folder_that_is_not_the_codec(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "model"
    other.mkdir()
    assert voxmill("tokenize", CLIPS, "--out", tmp_path / "run", "--model", other) == 2
    assert "config.json, preprocessor_config.json, model.safetensors" in capsys.readouterr().err
    shutil.copytree(small_model, other, dirs_exist_ok=True)
    config = other / "config.json"
    config.write_text(config.read_text().replace('"qwen3_tts_tokenizer_12hz"', '"qwen3_tts_tokenizer_25hz"'))
    assert voxmill("tokenize", CLIPS, "--out", tmp_path / "run", "--model", other) == 2
    assert "not the 12 Hz codec" in capsys.readouterr().err
    config.write_text("[1]")
    assert voxmill("tokenize", CLIPS, "--out", tmp_path / "run", "--model", other) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("runs_in_process")
def test_the_demo_fails_where_a_clip_does_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = Path(shutil.copytree(CLIPS, tmp_path / "clips"))
    monkeypatch.setattr("pipeline.cli.demo.CLIPS", clips)
    assert voxmill("demo", "--out", tmp_path / "run") == 0
    assert "failed, too" not in capsys.readouterr().err
    (clips / "en" / "frames.wav").write_bytes(b"RIFF")
    assert voxmill("demo", "--out", tmp_path / "other") == 1
    assert "clips that are whole failed, too: en/frames.wav. `voxmill doctor` looks" in capsys.readouterr().err
