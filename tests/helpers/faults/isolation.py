"""Faults of one recording that takes its process along: readers that die of it, readers and actors that hang on it."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from ray import cloudpickle

from actors.codec import Codec
from pipeline.cluster.load import CodecSpec, load_codec
from tests.helpers.faults.codecs import instead_of_codecs
from tests.helpers.faults.corpus import POISON, POISON_SAMPLES, Corpus, Trial, judge
from tests.helpers.faults.processes import below, kill
from tests.helpers.faults.readers import READERS
from tests.helpers.faults.workers import committed_at, run_through, served

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
STALL_S = 4.0
"""Of silence until a process ends: short, but longer than any block of the corpus takes."""


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


def hang_of_a_reader(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A file in the middle of a task for which a server never answers, and no time-out of the client comes."""
    trials = []
    for number in range(times):
        run, manifest = place / f"run{number}", place / f"manifest{number}.jsonl"
        asked: list[float] = []

        def behave(path: str, before: int, asked: list[float] = asked) -> str:
            if path[1:] == POISON:
                asked.append(time.time())
                return "hang"
            return "ok"

        options = {"input__readers": 1, "input__timeout_s": 900.0, "input__task_mb": 1024.0, "stall_s": STALL_S}
        with served(corpus.folder, manifest, behave):
            run_through(corpus, run, manifest, **options)
        trial = judge(corpus, run, also_failed={POISON: "KillsItsReader"}, inputs=manifest)
        trial.recover_s = committed_at(run, POISON) - asked[0]
        trial.problems += _unsaid(run) + ([] if len(asked) == 3 else [f"it was asked for {len(asked)} times"])
        trials.append(trial)
    return trials


def hang_of_an_actor(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A recording of which no call of the codec ever comes back."""
    trials = []
    for number in range(times):
        run, mark = place / f"run{number}", place / f"hung{number}"
        with instead_of_codecs(_hanging(mark)):
            run_through(corpus, run, stall_s=STALL_S)
        trial = judge(corpus, run, also_failed={POISON: "KillsItsActor"})
        trial.recover_s = committed_at(run, POISON) - mark.stat().st_mtime
        trial.problems += _unsaid(run)
        trials.append(trial)
    return trials


class Hanging:
    """A codec that never comes back from a wave of POISON_SAMPLES."""

    def __init__(self, codec: Codec, mark: Path) -> None:
        self.codec, self.mark = codec, mark

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """As the codec's own. Touches `mark` before it hangs for the first time."""
        if any(len(wave) == POISON_SAMPLES for wave in waves):
            if not self.mark.exists():
                self.mark.touch()
            time.sleep(10_000)
        return self.codec.encode(waves)


def _hanging(mark: Path) -> Callable[[CodecSpec], Any]:
    """For `instead_of_codecs`."""

    def load(spec: CodecSpec) -> Any:
        codec = load_codec(spec)
        return Hanging(codec, mark) if spec.part == "encode" else codec

    return load


def sticky_device_error(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """An illegal access, after which every call of that process fails (simulated); others find the device whole."""
    trials = []
    for number in range(times):
        run, mark = place / f"run{number}", place / f"broke{number}"
        with instead_of_codecs(_sticky(mark, calls=int(random.integers(1, 4)))):
            run_through(corpus, run)
        trial = judge(corpus, run)
        trial.recover_s = healed(mark).stat().st_mtime - mark.stat().st_mtime
        trials.append(trial)
    return trials


def healed(mark: Path) -> Path:
    """What is touched when another process has encoded something."""
    return mark.with_suffix(".healed")


class Sticky:
    """A codec whose device breaks after some calls, and stays broken for this process; `mark`: it broke once."""

    def __init__(self, codec: Codec, mark: Path, calls: int) -> None:
        self.codec, self.mark, self.calls, self.broken = codec, mark, calls, False

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """As the codec's own."""
        self.calls -= 1
        if self.calls < 0 and not self.mark.exists():
            self.mark.touch()
            self.broken = True
        if self.broken:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        codes = self.codec.encode(waves)
        if self.mark.exists() and not healed(self.mark).exists():
            healed(self.mark).touch()
        return codes


def _sticky(mark: Path, calls: int) -> Callable[[CodecSpec], Any]:
    """For `instead_of_codecs`."""

    def load(spec: CodecSpec) -> Any:
        codec = load_codec(spec)
        return Sticky(codec, mark, calls) if spec.part == "encode" else codec

    return load


def _unsaid(run: Path) -> list[str]:
    """A problem where the failure does not say for how long nothing was heard."""
    rows = [row for path in run.glob("failures/part-*") for row in pq.read_table(path).to_pylist()]
    messages = [row["message"] for row in rows if row["id"] == POISON]
    return [] if f"stall_s is {STALL_S:g}" in messages[0] else messages
