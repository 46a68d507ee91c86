"""One writer a run. Who wants to write puts a claim, RUN/.lock.<nonce>, and has the run once no other claim is there.

1. Put a claim with a name of its own, and begin to beat. 2. List the claims. 3. Remove those that are stale: the
process is dead, or its heartbeat did not change for WATCH_S. 4. Give up if a live process has the run, or wants it and
has the lower nonce. 5. No other claim left: the run is taken. Else look again.

Promised, on a local disk, on a shared one and on an object store alike: two that keep beating never both have the run.
Each lists after its own put, so the later one of the two sees the other's claim; no renaming, no conditional put
(pyarrow offers none) and no clock is needed, only that a listing shows every claim that was put before it began (POSIX
disks, NFS after a creation of one's own, S3, GCS and what is as consistent as they are). Takeovers cannot collide: a
claim is removed by its unique name, and a second removal does nothing. Of those that start at once, one gets in.

Not promised: a writer that was suspended, or cut off from the store, for longer than WATCH_S is taken for dead by other
machines. It finds its claim gone at its next `Lock.check` and stops. Between a check and the rename (or the end of the
upload; one of less than 10 MB to S3 is all of it) after it, that one file may still appear; the audit at the end of a
run settles what is double.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.errors import OutputError
from pipeline.log_line import log_line
from pipeline.run.claims import WATCH_S, Claim, Heart, Watch, claims, put_claim, read_claim, remove_claim
from pipeline.run.layout import LOCK_FILE
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as

POLL_S = 0.2


@dataclass(frozen=True)
class Lock:
    """A writer's claim on a run. It may travel to workers, which check it before they commit."""

    fs: FileSystem
    run: str
    path: str  # of the claim

    def check(self) -> None:
        """Raises OutputError where the run is not this writer's any more."""
        with errors_as(self.path, OutputError):
            try:
                self.fs.open_input_stream(self.path).close()
            except FileNotFoundError:
                raise self._lost() from None

    def _lost(self) -> OutputError:
        others = [read_claim(self.fs, path) for path in claims(self.fs, self.run)]
        who = next((f" ({other.process})" for other in others if other), "")
        return OutputError(
            f"Another voxmill{who} took this run over, or its lock was deleted: {redact(self.path)} is gone. This one "
            "stops and commits nothing more. It was suspended or cut off from the run, or it had ended. Let only one "
            "command write to a run."
        )


@contextlib.contextmanager
def locked(fs: FileSystem, run: str) -> Iterator[Lock]:
    """Inside, nobody else writes to `run`; call `check` of the lock before what must not be written twice.

    Raises OutputError where somebody else writes to it, and where it cannot be written.
    """
    if isinstance(fs, LocalFileSystem) and os.path.exists(run) and not os.path.isdir(run):
        raise OutputError(f"{run} is a file. Give --out a folder.")
    lock = Lock(fs, run, f"{run}/{LOCK_FILE}.{uuid.uuid4().hex}")
    try:
        put_claim(fs, lock.path)
        with contextlib.closing(Heart(fs, lock.path)) as heart:
            _wait_for_turn(lock)
            heart.beat(writes=True)
            yield lock
    finally:
        with contextlib.suppress(OSError):  # a claim that cannot be removed turns stale
            remove_claim(fs, lock.path)
        if isinstance(fs, LocalFileSystem):
            with contextlib.suppress(OSError):  # not empty: the run has begun
                os.rmdir(run)


def _wait_for_turn(lock: Lock) -> None:
    """Until no other claim is there. Raises OutputError where another process goes first."""
    watch, deadline_s, told = Watch(), time.monotonic() + 3 * WATCH_S, False
    while (paths := claims(lock.fs, lock.run)) != [lock.path]:
        if lock.path not in paths:
            lock.check()
        for path in paths:
            other = read_claim(lock.fs, path) if path != lock.path else None
            if other is None:
                continue
            alive = watch.lives(other)
            if alive is False:
                remove_claim(lock.fs, path)
            elif alive is None and not told:
                log_line(f"{other.process} has a claim on this folder; watching for {WATCH_S:g} s whether it lives")
                told = True
            elif alive and (other.writes or path < lock.path or time.monotonic() > deadline_s):
                raise _refused(other)
        time.sleep(POLL_S)


def _refused(other: Claim) -> OutputError:
    return OutputError(
        f"Another voxmill ({other.process}) is writing to this folder. Wait for it, stop it, or give --out another "
        f"one. If you are sure that it is gone, delete {redact(other.path)}."
    )
