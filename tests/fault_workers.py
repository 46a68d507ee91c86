"""Faults below a driver, in the Ray that runs here or in one of its own: actors, devices, servers, files."""

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from fault_codecs import instead_of_codecs, narrow, poisoned
from fault_corpus import LOUD, OPTIONS, POISON, SUCCESS_FILE, Corpus, Trial, break_one, committed, judge
from fault_drivers import share_done
from fault_processes import encoders, kill, until

from pipeline import tokenize
from pipeline.settings import Input

DEAD = 3
"""Recordings on servers that do not answer."""


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
    rows = corpus.chunks + len(corpus.errors)
    trials = []
    for number in range(times):
        run, share = place / f"run{number}", random.uniform(0.0, 0.6)

        def hurt(run: Path = run, share: float = share) -> float:
            until(lambda: share_done(run, rows, share) and encoders(os.getpid(), busy=True), "an actor that encodes")
            before = encoders(os.getpid())
            kill(*before)
            return recovered(run, before)

        with meanwhile(hurt) as hurting:
            run_through(corpus, run)
        trials.append(judge(corpus, run))
        trials[-1].recover_s = hurting.result()
    return trials


def recovered(run: Path, before: set[int]) -> float:
    """Seconds until a process of the encode pool that is not in `before` works, and a part is committed after that."""
    start = time.monotonic()
    until(lambda: encoders(os.getpid(), busy=True) - before or (run / SUCCESS_FILE).exists(), "another actor")
    known = committed(run)
    until(lambda: committed(run) - known or (run / SUCCESS_FILE).exists(), "a part of another actor")
    return time.monotonic() - start


def poison(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A recording that ends every process that encodes it: a failure; its batch mates are encoded."""
    trials = []
    for number in range(times):
        run, mark = place / f"run{number}", place / f"died{number}"
        with instead_of_codecs(poisoned(mark)):
            run_through(corpus, run)
        trial = judge(corpus, run, also_failed={POISON: "KillsItsActor"})
        trial.recover_s = _committed_at(run, POISON) - mark.stat().st_mtime
        trials.append(trial)
    return trials


def _committed_at(run: Path, failed: str) -> float:
    """When the part with the failure of this id was committed, in seconds since the epoch."""
    found = [path for path in run.glob("failures/part-*") if failed in pq.read_table(path)["id"].to_pylist()]
    return found[0].stat().st_mtime


def out_of_memory(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """The device has memory for two tiles of sixteen, and for one recording not even for a tile."""
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
    """Some recordings of a manifest lie on a server that never answers, or stops in the middle of an answer."""
    quick = {"input__timeout_s": 1.0, "input__retries": 1} if "timeout_s" in Input.model_fields else {}
    trials = []
    for number in range(times):
        run, manifest = place / f"run{number}", place / f"manifest{number}.jsonl"
        with server() as (address, asked):
            lines = [{"id": path.name, "audio": str(path)} for path in sorted(corpus.folder.iterdir())]
            dead = [{"id": f"dead{n}", "audio": f"{address}/{n}.wav"} for n in range(DEAD)]
            for line in dead:
                lines.insert(int(random.integers(len(lines))), line)
            manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
            run_through(corpus, run, manifest, **quick)
        trial = judge(corpus, run, also_failed={line["id"]: "UnreadableAudio" for line in dead}, inputs=manifest)
        trial.recover_s = max(_committed_at(run, line["id"]) for line in dead) - asked[0]
        trials.append(trial)
    return trials


@contextlib.contextmanager
def server() -> Iterator[tuple[str, list[float]]]:
    """An HTTP server that takes every request and answers none, but for 2.wav, of which it sends half; its address,
    and when it was asked, in seconds since the epoch."""
    asked: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as held:

        def serve() -> None:
            while True:
                try:
                    taken, _ = listening.accept()
                except OSError:  # closed
                    return
                held.enter_context(taken)
                asked.append(time.time())
                if b"/2.wav" in taken.recv(1 << 16):
                    taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"RIFF" * 100)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


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
