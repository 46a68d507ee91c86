"""What an actor does before it imports PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
import sys
from pathlib import Path
from actors.checkpoint import fingerprint
from pipeline.cluster.load import CodecSpec, load_codec

folder = Path(sys.argv[1])
load_codec(CodecSpec(str(folder), fingerprint(folder), {}, "cpu", "fp32", "full", "auto", 2, "encode"))
"""


def test_threads_that_wait_sleep(small_model: Path) -> None:
    given = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", LOAD, str(small_model)]
    given["OMP_DISPLAY_ENV"] = "verbose"  # OpenMP says what it took when PyTorch loaded it
    found = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    assert "GOMP_SPINCOUNT = '0'" in found.stderr  # without a policy it is 300,000
