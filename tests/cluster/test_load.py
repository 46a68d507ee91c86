"""What an actor does before it imports PyTorch."""

import os
import subprocess
import sys

import pytest

from pipeline.cluster.load import BRIEF_WAITS

LOAD = """
from actors.checkpoint import find_model, fingerprint
from pipeline.cluster.load import CodecSpec, load_codec

sha256 = fingerprint(find_model("demo"))
load_codec(CodecSpec("demo", sha256, {}, "cpu", "fp32", "full", "auto", 2, "encode"))
"""


@pytest.mark.parametrize(
    ("own", "spins"), [({}, 3_000), ({"OMP_WAIT_POLICY": "PASSIVE"}, 0), ({"GOMP_SPINCOUNT": "7"}, 7)]
)
def test_threads_wait_briefly_or_as_the_user_says(own: dict[str, str], spins: int) -> None:
    given = {name: value for name, value in os.environ.items() if name not in BRIEF_WAITS}
    given["OMP_DISPLAY_ENV"] = "verbose"  # OpenMP says what it took when PyTorch loaded it
    found = subprocess.run([sys.executable, "-c", LOAD], env=given | own, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{spins}'" in found.stderr  # without any of it, it is 300,000
