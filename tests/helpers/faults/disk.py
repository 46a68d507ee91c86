"""Disk full: a small tmpfs in a mount namespace of its own, so that it is unmounted in any case."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import ray

from pipeline.errors import OutputError
from pipeline.run.layout import PIECES
from tests.helpers.faults.corpus import Corpus, Trial, committed, judge, judge_unfinished
from tests.helpers.faults.processes import GIVE_UP_S, in_session
from tests.helpers.faults.workers import run_through

DISK_BYTES = 64 << 20
UNSHARE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a tmpfs in a mount namespace of its own."""
    command = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def disk_full(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """A disk fills while parts (or WAVs, in turns) are written; space is freed; the same command continues."""
    place.mkdir(parents=True, exist_ok=True)
    given, result = place / "given", place / "result"
    given.write_bytes(pickle.dumps((corpus, place, times, random)))
    with in_session([*UNSHARE, sys.executable, "-m", __name__, str(given), str(result)], {}) as one:
        problems = one.ends_well(GIVE_UP_S * times)
    if problems:
        raise RuntimeError(problems[0])
    return pickle.loads(result.read_bytes())


def fill_and_go_on(corpus: Corpus, place: Path, times: int, random: np.random.Generator) -> list[Trial]:
    """`disk_full`, inside the namespace."""
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], check=True)
    with ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"):
        return [fill_once(corpus, disk, bool(number % 2), random) for number in range(times)]


def fill_once(corpus: Corpus, disk: Path, reconstruct: bool, random: np.random.Generator) -> Trial:
    """One run on `disk`, first with too little space, then with enough."""
    run, ballast = disk / f"run{random.integers(1 << 30)}", disk / "ballast"
    known = os.statvfs(disk)
    room = int(random.uniform(0.1, 0.6) * _size(corpus, reconstruct))
    ballast.write_bytes(bytes(known.f_bavail * known.f_frsize - room))
    said = ""
    try:
        run_through(corpus, run, reconstruct=reconstruct)
    except OutputError as error:
        said = str(error)
    trial = judge_unfinished(corpus, run)
    if "No space left" not in said or "same command" not in said:
        trial.problems.append(f"a full disk ended in {said!r}")
    trial.problems += [f"{path} was left behind" for path in run.rglob(".*") if path.name != PIECES]
    ballast.unlink()
    before, start = committed(run), time.time()
    run_through(corpus, run, reconstruct=reconstruct)
    trial.recover_s = min(path.stat().st_mtime for path in committed(run) - before) - start
    return trial + judge(corpus, run)


def _size(corpus: Corpus, reconstruct: bool) -> int:
    """Approximate bytes of a run: PCM 16 of every frame, or a few pages for each part."""
    frames = sum(len(codes) for codes in corpus.codes.values())
    return frames * 1920 * 2 if reconstruct else corpus.chunks * 6000


if __name__ == "__main__":
    trials = fill_and_go_on(*pickle.loads(Path(sys.argv[1]).read_bytes()))
    Path(sys.argv[2]).write_bytes(pickle.dumps(trials))
