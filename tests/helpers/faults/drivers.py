"""Faults of the driver: it is killed, or its clock jumps."""

import functools
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.run.layout import LOCK_FILE
from tests.helpers.faults.corpus import OPTIONS, SUCCESS_FILE, Corpus, Trial, committed, judge, judge_unfinished
from tests.helpers.faults.processes import Driver, driver, end

DAY_S = 86_400
STAGES = (
    (None, 4.0),  # imports, Ray starts
    (0.0, 0.1),  # it holds the lock: planning
    (0.0, 4.0),  # actors start
    (1e-9, 0.3),  # the first part is there
    (0.25, 0.3),
    (0.45, 0.3),
    (0.65, 0.3),
    (0.85, 0.3),
    (1.0, 0.05),  # settling, joining, counting
    (1.0, 0.2),
)
"""When to kill: the share of the rows that is committed, and how many seconds to let pass then at the most."""
CLOCK = Path(__file__).with_name("clock")


def driver_killed(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """SIGKILL to the driver `times` times in one corpus, each time at another stage; then the run is finished."""
    run, options = place / "run", {**OPTIONS, "reconstruct": True}
    trials: list[Trial] = []
    while len(trials) < times:
        share, most_s = STAGES[(2 * len(trials) + 1) * len(STAGES) // (2 * times)]
        with driver(corpus.folder, run, corpus.model, options) as one:
            one.wait_for(functools.partial(_so_far, corpus, run, one, share))
            time.sleep(random.uniform(0, most_s))
            problems = one.ends_well() if one.over else []
            end(one)
            if trials:  # what it made until now tells when it had recovered from the last kill
                trials[-1].recover_s = first_after(run, one)
        if one.process.returncode == -signal.SIGKILL:  # else it was quicker: once more
            trials.append(judge_unfinished(corpus, run))
        elif problems:
            return [Trial(problems=problems)]
    with driver(corpus.folder, run, corpus.model, options) as one:
        trials[-1].problems += one.ends_well()
        trials[-1].recover_s = first_after(run, one)
    trials[-1] += judge(corpus, run)
    return trials


def _so_far(corpus: Corpus, run: Path, one: Driver, share: float | None) -> bool:
    """Whether a driver holds its run's lock, and `share` of the rows are committed; None: always."""
    if share is None:
        return True
    try:
        writers = [json.loads(path.read_text()).get("pid") for path in run.glob(f"{LOCK_FILE}.*")]
    except FileNotFoundError:
        return False
    return one.process.pid in writers and share_done(run, corpus.chunks + len(corpus.errors), share)


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
    rows, options = corpus.chunks + len(corpus.errors), {**OPTIONS, "reconstruct": False}
    trials = []
    for number in range(times):
        run = place / f"run{number}"
        share = random.uniform(0.1, 0.6)
        jumping = {
            "PYTHONPATH": os.pathsep.join([str(CLOCK), os.environ.get("PYTHONPATH", "")]),
            "CLOCK_OFFSETS_S": f"0,{DAY_S},{-DAY_S}",
        }
        with driver(corpus.folder, run, corpus.model, options, jumping) as one:
            one.wait_for(functools.partial(share_done, run, rows, share))
            problems = one.ends_well() if one.over else []
            end(one)
        trial = judge_unfinished(corpus, run) + Trial(problems=problems)
        with driver(corpus.folder, run, corpus.model, options, jumping | {"CLOCK_OFFSETS_S": str(-DAY_S)}) as one:
            trial.problems += one.ends_well()
            trial.recover_s = first_after(run, one)
        trials.append(trial + judge(corpus, run))
    return trials
