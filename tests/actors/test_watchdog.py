"""A process that falls silent ends itself and says so; one that works, or waits for others, does not."""

import subprocess
import sys
import time

import pytest

from actors.watchdog import EXIT_CODE

pytestmark = pytest.mark.slow

BEGIN = """
import ctypes, time
import actors.watchdog
from actors.watchdog import beat, limited
actors.watchdog.GRACE_S = 0.5
noted = lambda how: print("noted", how, flush=True)
"""


def run(code: str) -> tuple[int, str, str, float]:
    """Exit code, stdout, stderr and seconds."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - start


def test_a_silent_process_ends_and_says_so() -> None:
    code, out, err, took_s = run("with limited(0.5, noted): time.sleep(50)")
    assert code == EXIT_CODE
    assert out == "noted silent for 1 s (stall_s is 0.5)\n"
    assert "ends itself: silent for 1 s" in err
    assert 'File "<string>", line 7' in err  # where it hung
    assert took_s < 40


def test_a_call_that_holds_the_interpreters_lock_ends_too() -> None:
    code, _, err, _ = run("with limited(0.5, noted):\n    time.sleep(0.3); ctypes.PyDLL(None).sleep(50)")
    assert code == 1
    assert "Timeout" in err


def test_a_note_that_fails_keeps_no_process() -> None:
    code, _, err, _ = run("with limited(0.5, lambda how: 1 / 0): time.sleep(50)")
    assert code == EXIT_CODE
    assert "ends itself" in err


@pytest.mark.parametrize(
    "work",
    [
        "with limited(1.0, noted):\n    for _ in range(25): time.sleep(0.1); beat()",
        "with limited(1.0, noted): pass\ntime.sleep(2.5)",  # back-pressure: nothing in hand
        "with limited(1.0, noted): pass\nbeat()\ntime.sleep(2.5)",
        "with limited(0, noted): time.sleep(1.5)",
    ],
)
def test_a_process_that_works_or_waits_goes_on(work: str) -> None:
    code, out, _, _ = run(work + "\nprint('done')")
    assert (code, out) == (0, "done\n")


SLOW = """
import numpy as np
from pipeline.audio.source import Source
from pipeline.audio.views import Rules, View, read_views

class Slow:
    left = 8
    def read(self, size):
        time.sleep(0.25)
        self.left -= 1
        return b"x" if self.left else b""

def blocks(start):
    return start, (np.zeros((100, 1), np.float32) for _ in iter(lambda: stream.read(1), b""))

stream, source = Slow(), Source("wav", 8000, 1, blocks)
"""


@pytest.mark.parametrize(
    "work",
    [
        "from pipeline.storage.opening import spool\nwith limited(1.0, noted): spool(stream)",
        "from pipeline.sources.tar import _Forward\nwith limited(1.0, noted): _Forward(stream, False)._read(8)",
        "with limited(1.0, noted): list(read_views(source, [View()], Rules(False, 9.0), lambda: True, beat))",
    ],
)
def test_reading_that_takes_long_gives_signs_of_life(work: str) -> None:
    code, out, err, _ = run(SLOW + work + "\nprint('done')")
    assert (code, out) == (0, "done\n"), err
