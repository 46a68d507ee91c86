"""One writer a run: RUN/.lock identifies it, and is refreshed as a heartbeat.

No clocks are compared: on the same machine the process is looked up, on another one its heartbeat is watched. A stale
lock is taken over.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from pyarrow.fs import FileSystem, FileType, LocalFileSystem
from pydantic_core import from_json

from pipeline.errors import OutputError
from pipeline.run.layout import LOCK_FILE
from pipeline.storage.atomic import write_whole
from pipeline.storage.location import redact

BEAT_S = 5.0
WATCH_S = 4 * BEAT_S
"""Seconds without a heartbeat after which a lock of another machine is stale."""

WRITTEN_S = 1.0
"""Seconds after which an empty lock file is stale."""


@contextlib.contextmanager
def locked(fs: FileSystem, run: str) -> Iterator[None]:
    """Inside, nobody else writes to `run`. Raises OutputError where somebody does."""
    path = f"{run}/{LOCK_FILE}"
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "beat": 0}
    if not _create(fs, path, mine):
        _refuse_living(fs, path)
        _write(fs, path, mine)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(fs, path, mine, stop), daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        with contextlib.suppress(FileNotFoundError):  # someone who takes a run apart may have removed it
            fs.delete_file(path)
        if isinstance(fs, LocalFileSystem):
            with contextlib.suppress(OSError):  # not empty: the run has begun
                os.rmdir(run)


def _create(fs: FileSystem, path: str, lock: dict[str, Any]) -> bool:
    """Make the lock if there is none: in one step on a local or shared disk, check and put on an object store."""
    if isinstance(fs, LocalFileSystem):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "x") as file:
                json.dump(lock, file)
        except FileExistsError as error:
            if os.path.isfile(path):
                return False
            raise OutputError(f"{os.path.dirname(path)} is a file. Give --out a folder.") from error
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error}. Give --out a folder that can.") from error
        return True
    if fs.get_file_info(path).type == FileType.File:
        return False
    _write(fs, path, lock)
    return True


def _refuse_living(fs: FileSystem, path: str) -> None:
    lock = _read(fs, path)
    if not lock:
        time.sleep(WRITTEN_S)
        lock = _read(fs, path)
    if not lock:
        return
    if lock.get("host") == socket.gethostname() and lock.get("boot") == _boot():
        alive = _runs(int(lock["pid"]))
    else:
        time.sleep(WATCH_S)
        alive = _read(fs, path).get("beat", lock["beat"]) != lock["beat"]
    if alive:
        raise OutputError(
            f"Another voxmill (process {lock['pid']} on {lock['host']}) is writing this run. Wait for it, stop it, or "
            f"give --out another folder. If you are sure that it is gone, delete {redact(path)}."
        )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _boot() -> str:
    """Changes when the machine starts anew, so that an old process number means nothing; "" where nothing tells."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
    return ""


def _beat(fs: FileSystem, path: str, lock: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        lock["beat"] += 1
        with contextlib.suppress(OSError, OutputError):  # a full disk stops the run where it writes, not here
            _write(fs, path, lock)


def _write(fs: FileSystem, path: str, lock: dict[str, Any]) -> None:
    content = json.dumps(lock).encode()
    write_whole(fs, path, lambda file: file.write(content))


def _read(fs: FileSystem, path: str) -> dict[str, Any]:
    """What the lock says; {} where it is gone, or says nothing that a writer would: torn, or somebody else's file."""
    try:
        with fs.open_input_stream(path) as file:
            lock = from_json(file.read())
    except (FileNotFoundError, ValueError):
        return {}
    expected = {"host": str, "pid": int, "beat": int}
    if not isinstance(lock, dict) or any(not isinstance(lock.get(key), kind) for key, kind in expected.items()):
        return {}
    return lock if 0 < lock["pid"] < 2**31 else {}
