"""Memory that one call frees is not asked for again by the next one."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from actors.heap import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for recording in range(2):
        [np.ones(1 << 19, np.float32) for _ in range(6)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
keep_freed(32 << 20, 8 << 20)
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_pages_are_asked_for_once() -> None:
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    without, kept = map(int, told.stdout.split())
    pages = 6 * (1 << 21) // 4096
    assert kept < pages // 10 < pages < without
