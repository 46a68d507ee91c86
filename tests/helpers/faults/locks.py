"""A dead writer's lock that several processes find at once, on a disk and on an object store."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pyarrow.fs import FileSelector

from pipeline.run.layout import LOCK_FILE
from pipeline.storage.filesystem import locate
from tests.helpers.faults.contender import IN, REFUSED
from tests.helpers.faults.corpus import Corpus, Trial
from tests.helpers.faults.puts import uri
from tests.helpers.s3 import s3_server

CONTENDERS = 4
SPREAD_S = 0.02


def two_takeovers_at_once(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """Two to four processes try within 20 ms for a run whose writer was killed; exactly one gets in, each time.

    Every second run is in an object store.
    """
    trials = []
    with s3_server("bucket", {}) as endpoint, contextlib.ExitStack() as held:
        others = [held.enter_context(contender()) for _ in range(CONTENDERS)]
        for number in range(times):
            location = uri(endpoint, f"run{number}") if number % 2 else str(place / f"run{number}")
            chosen = others[: int(random.integers(2, CONTENDERS + 1))]
            trials.append(Trial(problems=list(_one(location, chosen, random))))
    return trials


def _one(location: str, others: list[subprocess.Popen[str]], random: np.random.Generator) -> Iterator[str]:
    fs, run = locate(location)
    with contender() as writer:
        assert tell(writer, f"0 {location}") == IN
        writer.kill()
    start_s = time.monotonic() + 0.05
    for other in others:
        other.stdin.write(f"{start_s + random.uniform(0, SPREAD_S)} {location}\n")
        other.stdin.flush()
    answers = [other.stdout.readline() for other in others]
    if sorted(answers) != sorted([IN] + [REFUSED] * (len(others) - 1)):
        yield f"{location}: {answers}"
    for other, answer in zip(others, answers, strict=True):
        if answer == IN:
            tell(other, "leave")
    left = [info.base_name for info in fs.get_file_info(FileSelector(run, allow_not_found=True))]
    if [name for name in left if name.startswith(LOCK_FILE)]:
        yield f"{location}: {left} was left behind"


@contextlib.contextmanager
def contender() -> Iterator[subprocess.Popen[str]]:
    """A process that tries for runs; it is gone afterwards."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.faults.contender"], stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str], line: str) -> str:
    """Say a line to a contender; returns its answer."""
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline()
