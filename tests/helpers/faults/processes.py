"""Processes to kill: drivers that run the command `voxmill`, Ray's workers below them, a cluster of several nodes."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENCODERS = "ray::MapWorker(MapBatches(EncodeChunks))"
"""How Ray Data calls the processes of the encode pool; followed by ".submit" while they work."""
GIVE_UP_S = 500.0
POLL_S = 0.02
SAID = "said"


@dataclass(frozen=True)
class Driver:
    """A command that runs: `voxmill tokenize`, mostly."""

    process: subprocess.Popen[bytes]
    said: Path  # what it writes to stderr
    started: float  # seconds since the epoch, as files' times

    @property
    def over(self) -> bool:
        """Whether it has ended, with any exit code."""
        return self.process.poll() is not None

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Until `condition()` is true, or it is over."""
        until(lambda: condition() or self.over, "the moment for a fault")

    def ended(self, give_up_s: float = GIVE_UP_S) -> int:
        """Wait for its end, and its exit code. Raises TimeoutError with what it said last."""
        try:
            return self.process.wait(give_up_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end in {give_up_s:g} s; it said: {self.said.read_text()[-4000:]}") from None

    def ends_well(self, give_up_s: float = GIVE_UP_S) -> list[str]:
        """Wait for its end; what is wrong with it, [] for nothing."""
        code = self.ended(give_up_s)
        return [f"the command ended with {code}: {self.said.read_text()[-2000:]}"] if code else []


@contextlib.contextmanager
def ray_folder() -> Iterator[str]:
    """Where Ray keeps its files while inside, also that of other processes: short, for sockets lie in it."""
    before = os.environ.get("RAY_TMPDIR")
    with tempfile.TemporaryDirectory(prefix="vx", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        try:
            yield folder
        finally:
            del os.environ["RAY_TMPDIR"]
            if before is not None:
                os.environ["RAY_TMPDIR"] = before


@contextlib.contextmanager
def in_session(command: list[str], env: Mapping[str, str]) -> Iterator[Driver]:
    """`command` in a process session of its own. Nothing of it, Ray included, outlives the `with`."""
    with ray_folder() as folder:
        said, started = Path(folder, SAID), time.time()
        with said.open("w") as log:
            process = subprocess.Popen(
                command, start_new_session=True, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=log
            )
        try:
            yield Driver(process, said, started)
        finally:
            end_session(process.pid)
            process.wait()


def driver(
    inputs: Path,
    run: Path,
    model: Path,
    options: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    module: Sequence[str] = ("pipeline",),
) -> contextlib.AbstractContextManager[Driver]:
    """`voxmill tokenize`, `in_session`; `module` with its first arguments is the command."""
    arguments = ["tokenize", str(inputs), "--out", str(run), "--model", str(model)]
    arguments += ["--set", "output.report=false"]  # it takes seconds, and nothing here reads it
    for key, value in options.items():
        arguments += ["--set", f"{key}={value}"]
    return in_session([sys.executable, "-m", *module, *arguments], env or {})


def end(one: Driver) -> None:
    """SIGKILL to the driver alone, then to what it left."""
    kill(one.process.pid)
    one.process.wait()
    end_session(one.process.pid)


def end_session(leader: int) -> None:
    """Kill what a driver and its Ray left: all of it is in the driver's process session."""
    for _ in range(3):
        for pid, (_, session, _) in processes().items():
            if session == leader:
                kill(pid)
        time.sleep(0.05)


def kill(*pids: int) -> None:
    """SIGKILL; ignores a process that has ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes() -> dict[int, tuple[int, int, str]]:
    """Parent, session and title of every process by its number; zombies are left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(folder.name)] = int(parent), int(session), title
    return found


def below(*roots: int) -> dict[int, str]:
    """Titles of the processes that descend from `roots`, by number."""
    everything = processes()
    reached, fresh = set(roots), set(roots)
    while fresh:
        fresh = {pid for pid, (parent, _, _) in everything.items() if parent in fresh} - reached
        reached |= fresh
    return {pid: everything[pid][2] for pid in reached - set(roots) if pid in everything}


def encoders(*roots: int, busy: bool = False) -> set[int]:
    """Processes of the encode pool below `roots`; those alone that encode just now, if `busy`."""
    title = f"{ENCODERS}.submit" if busy else ENCODERS
    return {pid for pid, seen in below(*roots).items() if seen.startswith(title)}


def until(condition: Callable[[], Any], what: str, give_up_s: float = GIVE_UP_S) -> float:
    """Wait until `condition()` is true; returns the seconds that it took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > give_up_s:
            raise TimeoutError(f"{what} did not come in {give_up_s:g} s")
        time.sleep(POLL_S)
    return time.monotonic() - start
