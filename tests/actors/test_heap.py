"""Memory that one call frees is not asked for again by the next one."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys
import threading
import numpy as np
from actors.heap import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for recording in range(2):
        [np.ones(1 << 19, np.float32) for _ in range(int(sys.argv[1]))]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def measure():
    faults()
    print(faults())
    keep_freed(256 << 20, 8 << 20)
    faults()
    print(faults())

if sys.argv[2] == "thread":
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
else:
    measure()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_pages_are_asked_for_once(where: str) -> None:
    arrays = 60  # 120 MB: of a thread, two heaps
    told = subprocess.run(
        [sys.executable, "-c", FAULTS, str(arrays), where], capture_output=True, text=True, check=True
    )
    without, kept = map(int, told.stdout.split())
    pages = arrays * (1 << 21) // 4096
    assert kept < pages // 10 < pages // 2 < without
