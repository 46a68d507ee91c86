"""Faults below a driver, in the Ray that runs here or in one of its own: actors, devices, servers, files."""

import contextlib
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline import tokenize
from tests.helpers.faults.codecs import instead_of_codecs, narrow, poisoned, slow
from tests.helpers.faults.corpus import LOUD, OPTIONS, POISON, SUCCESS_FILE, Corpus, Trial, break_one, committed, judge
from tests.helpers.faults.drivers import share_done
from tests.helpers.faults.processes import encoders, kill, until
from tests.helpers.flaky import Behave, flaky

DEAD = 2
"""Recordings that their server never answers for; and as many that it answers for in the end."""


def run_through(corpus: Corpus, run: Path, inputs: Path | None = None, **more: Any) -> None:
    """Tokenize the corpus, or `inputs`; `more` settings have "__" for the dot."""
    options = OPTIONS | {key.replace("__", "."): value for key, value in more.items()}
    tokenize(
        inputs or corpus.folder, run, model=str(corpus.model), settings={"reconstruct": False, **options}, quiet=True
    )


@contextlib.contextmanager
def meanwhile(act: Callable[[], float]) -> Iterator["Future[float]"]:
    """`act()` in a thread, while inside."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(act)


def actor_killed(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """SIGKILL from outside to the process of an encode actor while it encodes."""
    trials = []
    for number in range(times):
        run, share = place / f"run{number}", random.uniform(0.0, 0.4)
        with meanwhile(functools.partial(kill_encoder, corpus, run, share)) as hurting, instead_of_codecs(slow):
            run_through(corpus, run)
        trials.append(judge(corpus, run))
        trials[-1].recover_s = hurting.result()
    return trials


def kill_encoder(corpus: Corpus, run: Path, share: float) -> float:
    """When `share` of the run is done; seconds until another one works and a part is committed after that."""
    rows = corpus.chunks + len(corpus.errors)
    until(lambda: (share_done(run, rows, share) and encoders(os.getpid(), busy=True)) or over(run), "work to end")
    assert not over(run), "no actor was seen at work"
    before = encoders(os.getpid())
    kill(*before)
    return recovered(run, before)


def recovered(run: Path, before: set[int]) -> float:
    """Seconds until a process of the encode pool that is not in `before` works, and a part is committed after that."""
    start = time.monotonic()
    until(lambda: encoders(os.getpid(), busy=True) - before or over(run), "another actor")
    return time.monotonic() - start + next_part(run)


def next_part(run: Path) -> float:
    """Seconds until a part is committed, or the run is over."""
    known = committed(run)
    return until(lambda: committed(run) - known or over(run), "a part")


def over(run: Path) -> bool:
    """Whether the run is complete."""
    return (run / SUCCESS_FILE).exists()


def poison(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A recording that ends every process that encodes it: a failure; its batch mates are encoded."""
    trials = []
    for number in range(times):
        run, mark = place / f"run{number}", place / f"died{number}"
        with instead_of_codecs(poisoned(mark)):
            run_through(corpus, run)
        trial = judge(corpus, run, also_failed={POISON: "KillsItsActor"})
        trial.recover_s = committed_at(run, POISON) - mark.stat().st_mtime
        trials.append(trial)
    return trials


def committed_at(run: Path, failed: str) -> float:
    """When the part with the failure of this id was committed, in seconds since the epoch."""
    found = [path for path in run.glob("failures/part-*") if failed in pq.read_table(path)["id"].to_pylist()]
    return found[0].stat().st_mtime


def out_of_memory(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """The device has memory for two tiles of sixteen, and not for a single tile of one recording."""
    trials = []
    for number in range(times):
        run, mark = place / f"run{number}", place / f"full{number}"
        with instead_of_codecs(narrow(mark)):
            run_through(corpus, run)
        trial = judge(corpus, run, also_failed={LOUD: "DeviceOutOfMemory"})
        at = mark.stat().st_mtime
        trial.recover_s = min(path.stat().st_mtime - at for path in committed(run) if path.stat().st_mtime > at)
        trials.append(trial)
    return trials


def dead_server(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A manifest of files on a server that never answers for some, and answers for some at the second try."""
    trials = []
    for number in range(times):
        run, manifest = place / f"run{number}", place / f"manifest{number}.jsonl"
        names = [*random.permutation(sorted(corpus.codes.keys())).tolist(), *corpus.errors]
        dead, flickering = names[:DEAD], names[DEAD : 2 * DEAD]
        asked: list[float] = []
        behave = _sometimes_dead(dead, flickering, asked)
        with served(corpus.folder, manifest, behave):
            run_through(corpus, run, manifest, input__timeout_s=1.0, input__retries=1)
        trial = judge(corpus, run, also_failed=dict.fromkeys(dead, "UnreadableAudio"), inputs=manifest)
        trial.recover_s = max(committed_at(run, id_) for id_ in dead) - asked[0]
        trials.append(trial)
    return trials


def _sometimes_dead(dead: list[str], flickering: list[str], asked: list[float]) -> Behave:
    """Notes in `asked` when a dead file was asked for, in seconds since the epoch."""

    def behave(path: str, before: int) -> str:
        if path[1:] in dead:
            asked.append(time.time())
            return "hang"
        return "drop" if path[1:] in flickering and not before else "ok"

    return behave


@contextlib.contextmanager
def served(folder: Path, manifest: Path, behave: Behave) -> Iterator[None]:
    """While inside, the files of `folder` lie on a web server, and `manifest` lists them."""
    content = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with flaky(content, behave) as server:
        lines = [{"id": path[1:], "audio": server.address + path} for path in sorted(content)]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        yield


def bad_files(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """Half of a corpus is broken, in five ways."""
    trials = []
    for number in range(times):
        run, inputs = place / f"run{number}", place / f"half{number}"
        shutil.copytree(corpus.folder, inputs)
        first = len(corpus.errors)
        errors = {}
        for bad in range(first, len(corpus.codes)):
            like = next(error for id_, error in corpus.errors.items() if id_.startswith(f"bad{bad % 5}."))
            errors[break_one(inputs, bad, int(random.integers(1 << 30)))] = like
        run_through(corpus, run, inputs)
        trials.append(judge(corpus, run, also_failed=errors, inputs=inputs))
    return trials
