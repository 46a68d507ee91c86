"""Faults of people: inputs that change, or are swapped, between two commands, and a run inside its own inputs."""

from pathlib import Path

import numpy as np
import soundfile

from actors.contract import SAMPLE_RATE
from pipeline import open_run
from pipeline.errors import InputError
from pipeline.run.reader import Run
from tests.helpers.faults.corpus import Corpus, Trial, make_corpus
from tests.helpers.faults.workers import run_through
from tests.helpers.rows import tone

RECORDINGS = 6
"""Of a corpus of two commands."""
CHANGED = 2


def content_changed(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """Files are exported anew after the run: the next command is refused, one with `redo` tokenizes them anew."""
    trials = []
    for number in range(times):
        inputs, run = make_corpus(place / f"in{number}", RECORDINGS, seed=number), place / f"run{number}"
        run_through(corpus, run, inputs)
        for path in random.choice(sorted(inputs.glob("00*.wav")), CHANGED, replace=False).tolist():
            soundfile.write(path, tone(random.uniform(0.5, 9), seed=int(random.integers(1 << 30))), SAMPLE_RATE)
        trials.append(_refused_then_redone(corpus, inputs, run, place / f"fresh{number}"))
    return trials


def corpora_swapped(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A second corpus of the same file names goes into the run of the first one."""
    trials = []
    for number in range(times):
        run = place / f"run{number}"
        run_through(corpus, run, make_corpus(place / f"one{number}", RECORDINGS, seed=number))
        other = make_corpus(place / f"other{number}", RECORDINGS, seed=int(random.integers(100, 1 << 20)))
        trials.append(_refused_then_redone(corpus, other, run, place / f"fresh{number}"))
    return trials


def output_inside_input(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A run with WAVs lies in the folder that the next run reads."""
    trials = []
    for number in range(times):
        inputs = make_corpus(place / f"in{number}", RECORDINGS, seed=int(random.integers(1 << 20)))
        for name in ("run", "again"):
            run_through(corpus, inputs / name, inputs, reconstruct=True)
        trials.append(_compare(open_run(inputs / "again"), open_run(inputs / "run")))
    return trials


def _refused_then_redone(corpus: Corpus, inputs: Path, run: Path, fresh: Path) -> Trial:
    """Against a run that begins anew."""
    before, problems = _files(run), ["the command was not refused"]
    try:
        run_through(corpus, run, inputs)
    except InputError:
        problems = [] if _files(run) == before else ["the refused command wrote something"]
    run_through(corpus, run, inputs, input__changed="redo")
    run_through(corpus, fresh, inputs)
    return _compare(open_run(run), open_run(fresh)) + Trial(problems=problems)


def _files(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def _compare(run: Run, fresh: Run) -> Trial:
    ours, theirs = ({one.id: one.codes for one in each} for each in (run, fresh))
    failed, expected = (sorted(each.failures()["id"].to_pylist()) for each in (run, fresh))
    return Trial(
        lost=sum(id_ not in ours or not np.array_equal(ours[id_], codes) for id_, codes in theirs.items()),
        duplicates=len(failed) - len(set(failed)) + len(ours.keys() & set(failed)),
        problems=[] if (ours.keys(), failed) == (theirs.keys(), expected) else ["other recordings than in a new run"],
    )
