"""A short run of each fault of drivers, locks and disks; `python -m tests.faults` repeats them and measures."""

from pathlib import Path

import pytest

from tests.faults import Fault, survive
from tests.helpers.faults.corpus import Corpus
from tests.helpers.faults.disk import can_mount, disk_full
from tests.helpers.faults.drivers import clock_jumps, driver_killed
from tests.helpers.faults.locks import two_takeovers_at_once
from tests.helpers.faults.puts import put_interrupted

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fault", [driver_killed, clock_jumps])
def test_what_happens_to_drivers(fault: Fault, fault_corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, fault_corpus, tmp_path)


@pytest.mark.parametrize("fault", [two_takeovers_at_once, put_interrupted])
def test_what_happens_to_locks_and_puts(fault: Fault, fault_corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, fault_corpus, tmp_path, times=8)


def test_a_full_disk(fault_corpus: Corpus, tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a tmpfs can be mounted neither by this user nor in a user name space")
    survive(disk_full, fault_corpus, tmp_path)
