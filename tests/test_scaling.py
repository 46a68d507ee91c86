"""The whole dataflow on simulated GPUs, with elastic pools that reserve them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_every_gpu_gets_work(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--gpus", "2", "--call-s", "0.3", "--calls", "6", "--json", str(figures)]
    pools = ["--set", "reconstruct=true", "encode.max_actors=9", "decode.max_actors=9"]
    subprocess.run(
        [sys.executable, "-m", "tests.scaling", *options, *pools],
        check=True,
        timeout=500,
        cwd=Path(__file__).parents[1],
    )
    assert json.loads(figures.read_text())[0]["actors"] >= 2
