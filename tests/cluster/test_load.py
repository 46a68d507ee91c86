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


def spins_of(command: list[str], own: dict[str, str]) -> str:
    """What OpenMP says that it took when PyTorch loaded it, for Python's arguments `command`."""
    given = {name: value for name, value in os.environ.items() if name not in BRIEF_WAITS}
    env = given | own | {"OMP_DISPLAY_ENV": "verbose"}
    found = subprocess.run(
        [sys.executable, *command], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return next(line for line in found.stderr.splitlines() if "GOMP_SPINCOUNT" in line)


@pytest.mark.parametrize(
    ("own", "spins"), [({}, 3_000), ({"OMP_WAIT_POLICY": "PASSIVE"}, 0), ({"GOMP_SPINCOUNT": "7"}, 7)]
)
def test_threads_wait_briefly_or_as_the_user_says(own: dict[str, str], spins: int) -> None:
    assert f"'{spins}'" in spins_of(["-c", LOAD], own)  # without any of it, it is 300,000


def test_threads_of_a_stream_wait_briefly_too() -> None:
    """`voxmill stream encode | voxmill stream decode`: two processes with a thread for each core."""
    assert "'3000'" in spins_of(["-m", "pipeline", "stream", "encode", "--model", "demo", "--device", "cpu"], {})
