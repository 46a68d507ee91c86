"""README's commands: the real command line takes each, and those that need no other machine are run as they stand.

The official model is out of reach, so the demo's is named where a command names none.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import soundfile
import typer

from actors.codec import Codec
from pipeline import open_run, tokenize
from pipeline.cli.main import app
from tests.helpers.commands import in_process, speak, voxmill
from tests.helpers.rows import tone

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("s3://", "HEAD", "kubectl", "sbatch", "arecord", "--ray-address", "pip install")
"""Of commands that need a cluster, a cloud, a microphone or a new environment."""
TAKES_A_MODEL = ("tokenize", "doctor", "stream")


def lines() -> Iterator[tuple[str, str]]:
    """(section, line without its comment) of every line in README's bash blocks."""
    section, inside = "", False
    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```bash"
        elif inside and line.strip():
            yield section, re.sub(r"\s+#.*", "", line)
        elif line.startswith("## "):
            section = line.removeprefix("## ")


COMMANDS = list(lines())
OURS = [
    shlex.split(part)[1:]
    for _, line in COMMANDS
    for part in re.split(r"[|<>]|&&|-- python -m pipeline", line.replace("-- python -m pipeline", "| voxmill"))
    if part.split()[:1] == ["voxmill"]
]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_the_command_line_takes_it(words: list[str]) -> None:
    command, context = typer.main.get_command(app), None
    while isinstance(command, click.Group):
        context = click.Context(command, context, info_name=words[0])
        command, words = command.commands[words[0]], words[1:]
    command.make_context("voxmill", words, context)


def test_there_are_commands_of_every_kind() -> None:
    assert {words[0] for words in OURS} >= {
        "tokenize",
        "show",
        "report",
        "doctor",
        "export",
        "merge",
        "stream",
        "demo",
    }


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load("demo", device="cpu", precision="fp32")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what README's commands name: a corpus, a run of it with texts, shards of another, waves."""
    monkeypatch.chdir(tmp_path)
    speak(Path("corpus"), {"spk1/utt7.flac": 1.0, "a.wav": 0.7, "b.wav": 1.2})
    soundfile.write("anna.wav", tone(2.0), 16_000)
    for name in ("huge.wav", "talk.wav"):
        soundfile.write(name, tone(0.5), 24_000)
    rows = [
        {
            "id": f"spk1/utt7.flac{number or ''}",
            "audio": str(tmp_path / "corpus" / "spk1" / "utt7.flac"),
        }
        | {"text": "words", "speaker": "anna", "json": {"lang": "en"}}
        for number in range(2)
    ]
    Path("corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("section", dict.fromkeys(section for section, _ in COMMANDS))
def test_commands_of_a_section_run(section: str, world: Path, codec: Codec, capfd: pytest.CaptureFixture[str]) -> None:
    here = [line for name, line in COMMANDS if name == section and not any(word in line for word in ELSEWHERE)]
    if section == "Before a run, and after a slow one":
        tokenize("corpus.jsonl", "run", model="demo", quiet=True)
    with in_process(codec):  # without Ray: what is only there to be used
        if section == "Into trainers":
            tokenize("corpus.jsonl", "run", model="demo", reconstruct=False, quiet=True)
        for number in range(2 if any("shard-*" in line for line in here) else 0):
            tokenize("corpus", f"out/shard-{number}", model="demo", shard=f"{number}/2", reconstruct=False, quiet=True)
    for line in here:
        assert run(line) in ((0, 1) if "doctor" in line else (0,)), f"{line}\n{capfd.readouterr().err}"
    if section == "Your corpus":
        assert len(open_run("run")) == 3
        assert (world / "run" / "report.html").exists()


def test_python_of_the_first_sections_runs(world: Path, codec: Codec) -> None:
    """In one session: a run, the engine alone, a run's files as others read them, streams."""
    soundfile.write("call.flac", np.stack([tone(2.0)] * 2, 1), 24_000)
    text = (ROOT / "README.md").read_text()
    session: dict[str, Any] = {"pcm": tone(0.5)}
    with in_process(codec):
        for section in ("From Python", "What a run holds", "Live streams"):
            block = re.findall(r"```python\n(.*?)```", text.partition(f"\n## {section}\n")[2], re.S)[0]
            block = block.replace("Qwen/Qwen3-TTS-Tokenizer-12Hz", "demo").replace(
                "tokenize(", "tokenize(model='demo', inputs="
            )
            exec(block, session)
    assert session["run"]["spk1/utt7.flac"].codes.shape == (13, 16)
    assert session["waves"][0].shape == (7 * 1920,)
    assert session["rows"].num_rows == 3
    assert session["wave"].dtype == np.float32


def run(line: str) -> int:
    """The exit code of a line. In this process, but for pipes and redirections."""
    words = shlex.split(line)
    more = ["--model", "demo"] if any(name in words[1:2] for name in TAKES_A_MODEL) and "--model" not in words else []
    more += ["--seconds", "0"] if "doctor" in words and not any(word.startswith("run") for word in words) else []
    if not re.search(r"[|<>]", line):
        assert words[0] == "voxmill", line
        found = [str(path) for word in words[1:] for path in (sorted(Path().glob(word)) if "*" in word else [word])]
        return voxmill(*found, *more)
    command = line.replace("voxmill", f"{sys.executable} -m pipeline").replace(" <", f" {shlex.join(more)} <", 1)
    return subprocess.run(["bash", "-c", command], timeout=120, check=False).returncode
