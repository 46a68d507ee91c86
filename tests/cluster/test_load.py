"""What an actor does before it imports PyTorch."""

import os
import subprocess
import sys

LOAD = """
from actors.checkpoint import find_model, fingerprint
from pipeline.cluster.load import CodecSpec, load_codec

sha256 = fingerprint(find_model("demo"))
load_codec(CodecSpec("demo", sha256, {}, "cpu", "fp32", "full", "auto", 2, "encode"))
"""


def test_threads_that_wait_sleep() -> None:
    given = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    given["OMP_DISPLAY_ENV"] = "verbose"  # OpenMP says what it took when PyTorch loaded it
    found = subprocess.run([sys.executable, "-c", LOAD], env=given, capture_output=True, text=True, check=True)
    assert "GOMP_SPINCOUNT = '0'" in found.stderr  # without a policy it is 300,000
