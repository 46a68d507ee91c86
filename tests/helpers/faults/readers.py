"""Faults of readers: a read task that dies and whose inputs answer differently when it is done again."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.helpers.faults.corpus import Corpus, Trial, judge
from tests.helpers.faults.processes import below, kill
from tests.helpers.faults.workers import run_through, served

READERS = "ray::Read"
"""How the processes of read tasks are called while they work."""
UNREACHABLE = 2
"""Files that only one of the two attempts of a reader cannot fetch."""


class KillsReaders:
    """A server's behaviour: it ends all readers when the file `at` is asked for the first time.

    The files `gone` are not found before that (`then` False), or only after it.
    """

    def __init__(self, at: str, gone: set[str], then: bool) -> None:
        self.at, self.gone, self.then = at, gone, then
        self.killed = False

    def __call__(self, path: str, before: int) -> str:
        if path[1:] == self.at and not self.killed:
            self.killed = True
            kill(*(pid for pid, title in below(os.getpid()).items() if title.startswith(READERS)))
        return "404" if path[1:] in self.gone and self.killed == self.then else "ok"


def reader_killed_files_come_back(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A reader is killed in the middle of a task; two files before that place were unreachable, and then are not."""
    return _killed(corpus, place, times, random, then=False)


def reader_killed_files_go(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A reader is killed in the middle of a task; two files before that place cannot be reached any more."""
    return _killed(corpus, place, times, random, then=True)


def _killed(corpus: Corpus, place: Path, times: int, random: np.random.Generator, then: bool) -> list[Trial]:
    """Ray drops as many blocks of a reader's second attempt as the first one delivered, whatever is in them."""
    trials = []
    for number in range(times):
        run, manifest = place / f"run{number}", place / f"manifest{number}.jsonl"
        order = sorted(corpus.codes)  # the manifest's
        at = int(random.integers(len(order) // 2, len(order)))
        gone = set(random.choice(order[:at], UNREACHABLE, replace=False).tolist())
        behave = KillsReaders(order[at], gone, then)
        with served(corpus.folder, manifest, behave):
            run_through(corpus, run, manifest, input__readers=1, input__retries=0, input__task_mb=1024.0)
        trial = judge(corpus, run, also_failed=dict.fromkeys(failed(run) & gone, "UnreadableAudio"), inputs=manifest)
        trial.problems += [] if behave.killed else ["no reader was killed"]
        trials.append(trial)
    return trials


def failed(run: Path) -> set[str]:
    """The ids of committed failures."""
    return {id_ for path in run.glob("failures/part-*") for id_ in pq.read_table(path)["id"].to_pylist()}
