"""Faults of the process that runs the command: it is killed, and its clock jumps."""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from fault_corpus import OPTIONS, RUN_FILE, SUCCESS_FILE, Corpus, Trial, committed, judge, judge_unfinished
from fault_processes import Driver, driver, end

from pipeline.lock import LOCK_FILE

DAY_S = 86_400
CLOCK = Path(__file__).with_name("fault_clock")


def driver_killed(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """SIGKILL to the driver `times` times in one corpus, each at another stage of a run; then it is finished."""
    run, options = place / "run", {**OPTIONS, "reconstruct": True}
    stages = _stages(corpus, run)
    trials: list[Trial] = []
    for number in range(times):
        wait, most_s = stages[(2 * number + 1) * len(stages) // (2 * times)]
        with driver(corpus.folder, run, corpus.model, options) as one:
            one.wait_for(wait)
            time.sleep(random.uniform(0, most_s))
            if trials:  # what it made until now tells when it had recovered from the last kill
                trials[-1].recover_s = first_after(run, one)
            problems = one.ends_well() if one.over else []
            end(one)
        trials.append(judge_unfinished(corpus, run) + Trial(problems=problems))
    with driver(corpus.folder, run, corpus.model, options) as one:
        trials[-1].problems += one.ends_well()
        trials[-1].recover_s = first_after(run, one)
    trials[-1] += judge(corpus, run)
    return trials


def _stages(corpus: Corpus, run: Path) -> list[tuple[Callable[[], bool], float]]:
    """What to wait for, and how many seconds to let pass then at the most, from a driver's start to its end."""
    rows = corpus.chunks + len(corpus.errors)
    return [
        (lambda: True, 4.0),  # imports, Ray starts
        (lambda: (run / LOCK_FILE).exists(), 0.1),  # planning
        (lambda: (run / RUN_FILE).exists(), 4.0),  # actors start
        (lambda: len(committed(run)) > 0, 0.3),
        *((functools.partial(share_done, run, rows, share), 0.3) for share in (0.25, 0.45, 0.65, 0.85)),
        (lambda: share_done(run, rows, 1.0), 0.05),  # settling, joining, counting
        (lambda: share_done(run, rows, 1.0), 0.2),
    ]


def share_done(run: Path, rows: int, share: float) -> bool:
    """At least `share` of the `rows` of codes and failures are committed."""
    return sum(_rows(path) for path in committed(run)) >= share * rows


@functools.cache
def _rows(part: Path) -> int:
    try:
        return pq.read_metadata(part).num_rows
    except FileNotFoundError:  # settling took it away
        return 0


def first_after(run: Path, one: Driver) -> float | None:
    """Seconds from the start of a driver to the first part it committed (with none to make, to the mark of the end)."""
    files = [*committed(run), run / SUCCESS_FILE]
    times = [path.stat().st_mtime for path in files if path.exists()]
    return min((at - one.started for at in times if at > one.started), default=None)


def clock_jumps(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """Clocks of the driver and of every worker jump by a day; killed midway; then finished by a clock a day behind."""
    rows = corpus.chunks + len(corpus.errors)
    trials = []
    for number in range(times):
        run = place / f"run{number}"
        share = random.uniform(0.1, 0.6)
        jumping = {
            "PYTHONPATH": os.pathsep.join([str(CLOCK), os.environ.get("PYTHONPATH", "")]),
            "CLOCK_OFFSETS_S": f"0,{DAY_S},{-DAY_S}",
        }
        with driver(corpus.folder, run, corpus.model, OPTIONS, jumping) as one:
            one.wait_for(functools.partial(share_done, run, rows, share))
            problems = one.ends_well() if one.over else []
            end(one)
        trial = judge_unfinished(corpus, run) + Trial(problems=problems)
        with driver(corpus.folder, run, corpus.model, OPTIONS, jumping | {"CLOCK_OFFSETS_S": str(-DAY_S)}) as one:
            trial.problems += one.ends_well()
            trial.recover_s = first_after(run, one)
        trials.append(trial + judge(corpus, run))
    return trials
