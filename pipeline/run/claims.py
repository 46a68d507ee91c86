"""The files of a run's lock: a claim for every process that writes to the run or wants to, and its heartbeat.

RUN/.lock.<nonce> says which process it is. It is written once and never changed, so that a deleted claim
never comes back. RUN/.lock.<nonce>.beat changes while the process lives. A claim is removed only by its owner, or by a
process that found it stale.
"""

import contextlib
import json
import threading
import time
from dataclasses import dataclass

from pyarrow.fs import FileSelector, FileSystem, FileType
from pydantic_core import from_json

from pipeline.errors import OutputError
from pipeline.run.layout import LOCK_FILE
from pipeline.run.process import Process, lives, parse, this_process
from pipeline.storage.atomic import write_whole

BEAT = ".beat"
BEAT_S = 5.0
WATCH_S = 4 * BEAT_S
"""Seconds without a change after which the claim of a process that cannot be looked up is stale."""


@dataclass(frozen=True)
class Claim:
    """The content of a claim and of its heartbeat."""

    path: str
    process: Process | None  # None: no voxmill wrote this
    writes: bool  # it has the run; before that, it only wants it
    content: bytes


def claims(fs: FileSystem, run: str, sweep: bool = True) -> list[str]:
    """Paths of the claims on `run`, in the same order for all. `sweep`: delete heartbeats without a claim."""
    found = [info for info in fs.get_file_info(FileSelector(run, allow_not_found=True)) if info.type == FileType.File]
    names = {info.base_name for info in found if info.base_name.startswith(LOCK_FILE)}
    beats = {name for name in names if name.endswith(BEAT)}
    for orphan in {name for name in beats if sweep and name.removesuffix(BEAT) not in names}:
        _delete(fs, f"{run}/{orphan}")
    return [f"{run}/{name}" for name in sorted(names - beats)]


def read_claim(fs: FileSystem, path: str) -> Claim | None:
    """None where it is gone."""
    record, beat = _read(fs, path), _read(fs, path + BEAT)
    if record is None:
        return None
    return Claim(path, parse(_json(record)), (_json(beat or b"") or {}).get("writes") is True, record + (beat or b""))


def put_claim(fs: FileSystem, path: str) -> None:
    """Raises OutputError where nothing can be written."""
    content = json.dumps(this_process().json()).encode()
    for tries in (2, 1, 0):
        try:
            write_whole(fs, path, lambda file: file.write(content))
            break
        except OutputError as error:  # a writer that ends sweeps temporary files, and removes a folder that is empty
            if not tries or not isinstance(error.__cause__, FileNotFoundError):
                raise


def remove_claim(fs: FileSystem, path: str) -> None:
    """The claim first: without it, a heartbeat means nothing."""
    _delete(fs, path)
    _delete(fs, path + BEAT)


class Heart:
    """The heartbeat of a claim, in a thread. It stops by itself when the claim is gone."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self.fs, self.path = fs, path
        self.beats, self.writes = 0, False
        self.one_at_a_time, self.over = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def beat(self, writes: bool) -> None:
        """`writes`: the process has the run. What fails is left to the next beat."""
        with self.one_at_a_time, contextlib.suppress(OSError, OutputError):
            self.beats, self.writes = self.beats + 1, writes
            content = json.dumps({"beat": self.beats, "writes": writes}).encode()
            write_whole(self.fs, self.path + BEAT, lambda file: file.write(content))

    def close(self) -> None:
        """No beat comes after this returns."""
        self.over.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                if _read(self.fs, self.path) is None:
                    break
                self.beat(self.writes)


class Watch:
    """Tells whether others live: it remembers what their claims said, and since when."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[bytes, float, bool]] = {}

    def lives(self, claim: Claim) -> bool | None:
        """None: not known yet, ask again. A process that died is False at once on this machine, else after WATCH_S."""
        alive = lives(claim.process) if claim.process else False
        if alive is not None:
            return alive
        content, since_s, changed = self.seen.get(claim.path, (claim.content, time.monotonic(), False))
        if content != claim.content:
            since_s, changed = time.monotonic(), True
        self.seen[claim.path] = claim.content, since_s, changed
        return False if time.monotonic() - since_s > WATCH_S else changed or None


def may_be_written(fs: FileSystem, run: str) -> bool:
    """Whether a process has a claim on the run, or wants one, and is not known to be dead: at once, so that of one on
    another machine nothing is known."""
    watch = Watch()
    held = (read_claim(fs, path) for path in claims(fs, run, sweep=False))
    return any(watch.lives(claim) is not False for claim in held if claim is not None)


def _json(content: bytes) -> dict | None:
    try:
        found = from_json(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _read(fs: FileSystem, path: str) -> bytes | None:
    try:
        with fs.open_input_stream(path) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError:
        if fs.get_file_info(path).type == FileType.NotFound:  # gone between the two requests that a store takes
            return None
        raise


def _delete(fs: FileSystem, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        fs.delete_file(path)
