"""GPUs that are only said to be there: the whole dataflow, with elastic pools that reserve them."""

import json
import subprocess
import sys
from pathlib import Path


def test_every_gpu_gets_work(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    script = Path(__file__).parent / "scaling.py"
    options = ["--gpus", "2", "--call-s", "0.3", "--calls", "6", "--json", str(figures)]
    pools = ["--set", "reconstruct=true", "encode.max_actors=9", "decode.max_actors=9"]
    subprocess.run([sys.executable, script, *options, *pools], check=True, timeout=500)
    assert json.loads(figures.read_text())[0]["actors"] >= 2
