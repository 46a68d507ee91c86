"""What an actor does before it imports PyTorch."""

import os
import subprocess
import sys

import pytest

from pipeline.cluster.load import BRIEF_WAITS, brief_waits

LOAD = """
from actors.checkpoint import find_model, weights_sha256
from pipeline.cluster.load import CodecSpec, load_codec

sha256 = weights_sha256(find_model("demo"))
load_codec(CodecSpec("demo", sha256, {}, "cpu", "fp32", "full", "auto", 2, "encode"))
"""


def spins_of(command: list[str]) -> str:
    """What OpenMP says that it took when PyTorch loaded it, for Python's arguments `command`."""
    given = {name: value for name, value in os.environ.items() if name not in BRIEF_WAITS}
    env = given | {"OMP_DISPLAY_ENV": "verbose"}
    found = subprocess.run(
        [sys.executable, *command], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return next(line for line in found.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


@pytest.mark.parametrize(
    "command",
    [["-c", LOAD], ["-m", "pipeline", "stream", "encode", "--model", "demo", "--device", "cpu"]],
    ids=["actor", "stream"],  # `voxmill stream encode | voxmill stream decode`: each has a thread for every core
)
def test_threads_wait_briefly(command: list[str]) -> None:
    assert "'3000'" in spins_of(command)  # else it is 300,000


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_or_as_the_user_says(own: dict[str, str]) -> None:
    assert brief_waits({"PATH": "/"} | own) == {"PATH": "/"} | own
