"""Which process wrote a lock, and does it live? Answers for processes of this machine and container only."""

import contextlib
import os
import socket
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process that writes to a run, as its lock describes it."""

    host: str
    pid: int
    boot: str = ""  # changes when the machine starts anew; "" where nothing tells
    space: str = ""  # the namespace of process numbers: two containers of one host may both have a pid 1
    start: str = ""  # ticks from the boot to its start: numbers are used again

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def json(self) -> dict[str, Any]:
        """For the lock file."""
        return asdict(self)


def this_process() -> Process:
    """The process that asks."""
    pid = os.getpid()
    return Process(socket.gethostname(), pid, *_place(), _state_and_start(pid)[1])


def parse(record: Any) -> Process | None:
    """What `Process.json` gave; None for anything else. Older records have no `space` and no `start`."""
    if not isinstance(record, dict) or not isinstance(record.get("host"), str) or type(record.get("pid")) is not int:
        return None
    rest = {key: str(record.get(key, "")) for key in ("boot", "space", "start")}
    return Process(record["host"], record["pid"], **rest) if 0 < record["pid"] < 2**31 else None


def lives(process: Process) -> bool | None:
    """Whether it runs; None where only its heartbeat can tell: on another machine, in another container, or where
    /proc hides the process that has its number now."""
    if not process.start or not all(_place()) or (process.boot, process.space) != _place():
        return None
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    state, start = _state_and_start(process.pid)
    if not start:
        return None
    return state not in "ZX" and start == process.start


def _place() -> tuple[str, str]:
    """The machine's boot and this process's namespace of process numbers; "" where nothing tells (not on Linux)."""
    boot = space = ""
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        space = str(os.stat("/proc/self/ns/pid").st_ino)
    return boot, space


def _state_and_start(pid: int) -> tuple[str, str]:
    """One letter, Z for a zombie, and the start in ticks; " " and "" where /proc hides them."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()  # a name before it may hold anything
    except OSError:
        return " ", ""
    return fields[0], fields[19]
