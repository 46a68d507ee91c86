"""Faults of one recording that takes its process along: readers that die of it, readers and actors that hang on it."""

import os
import time
from pathlib import Path

import numpy as np

from tests.helpers.faults.corpus import POISON, Corpus, Trial, judge
from tests.helpers.faults.processes import below, kill
from tests.helpers.faults.readers import READERS
from tests.helpers.faults.workers import committed_at, run_through, served


def poison_for_readers(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A file in the middle of a task whose fetching ends every process that does it: a failure, and nothing else."""
    trials = []
    for number in range(times):
        run, manifest = place / f"run{number}", place / f"manifest{number}.jsonl"
        deaths: list[float] = []

        def behave(path: str, before: int, deaths: list[float] = deaths) -> str:
            if path[1:] == POISON:
                deaths.append(time.time())
                kill(*(pid for pid, title in below(os.getpid()).items() if title.startswith(READERS)))
            return "ok"

        with served(corpus.folder, manifest, behave):
            run_through(corpus, run, manifest, input__readers=1, input__retries=0, input__task_mb=1024.0)
        trial = judge(corpus, run, also_failed={POISON: "KillsItsReader"}, inputs=manifest)
        trial.recover_s = committed_at(run, POISON) - deaths[0]
        trial.problems += [] if len(deaths) == 3 else [f"{len(deaths)} readers died of it"]
        trials.append(trial)
    return trials
