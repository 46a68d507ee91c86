"""A short run of each fault of workers; `python -m tests.faults` repeats them and measures."""

from pathlib import Path

import pytest

from tests.faults import Fault, survive
from tests.helpers.faults.corpus import Corpus
from tests.helpers.faults.isolation import (
    hang_of_a_reader,
    hang_of_an_actor,
    poison_for_readers,
    sticky_device_error,
)
from tests.helpers.faults.readers import reader_killed_files_come_back, reader_killed_files_go
from tests.helpers.faults.workers import actor_killed, bad_files, dead_server, out_of_memory, poison

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


@pytest.mark.parametrize(
    "fault",
    [
        actor_killed,
        poison,
        poison_for_readers,
        hang_of_a_reader,
        hang_of_an_actor,
        sticky_device_error,
        out_of_memory,
        dead_server,
        bad_files,
    ],
)
def test_what_happens_to_workers(fault: Fault, fault_corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, fault_corpus, tmp_path)


@pytest.mark.parametrize("fault", [reader_killed_files_come_back, reader_killed_files_go])
def test_readers_that_die_while_their_inputs_change(fault: Fault, fault_corpus: Corpus, tmp_path: Path) -> None:
    survive(fault, fault_corpus, tmp_path, times=2)
