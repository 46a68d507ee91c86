"""A batch -> results, where one bad item may raise, or end the process: only that item fails."""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from actors.errors import KillsItsActor, RecordingError
from actors.watchdog import leave, limited

MAX_DEATHS = 2
"""An item that was alone in a process that died so often is given up; once may be bad luck: a preempted node, say."""
BROKEN_DEVICE = re.compile(r"(CUDA|HIP)( driver)? error:|\[CUDA\]|_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)")
"""Texts of torch, Triton, cuDNN and cuBLAS for an illegal access, an ECC error, a device-side assert: after one of them
every call of the process fails, and only a new process gets the device back. Out of memory ("CUDA out of memory.") is
none of them."""
DIED = "killed or crashed"
"""How a process ended that had no time to say so."""


class Attempts(Protocol):
    """Remembers, outside the process that may die, what was begun and never ended."""

    def begin(self, key: str) -> list[str]:
        """How each process ended that began `key` and did not come through since."""

    def note(self, key: str, how: str) -> None:
        """The process that began `key` last is about to end itself; `how` says why."""

    def end(self, key: str) -> None:
        """`key` came through."""


class Ledger:
    """`Attempts` in memory; the dataflow keeps one in an actor of its own."""

    def __init__(self) -> None:
        self.begun: dict[str, list[str]] = {}

    def begin(self, key: str) -> list[str]:
        """How each process ended that began `key` and did not come through since."""
        before = self.begun.get(key, [])
        self.begun[key] = [*before, DIED]  # true unless `end` or `note` is called
        return before

    def note(self, key: str, how: str) -> None:
        """The process that began `key` last is about to end itself; `how` says why."""
        if key in self.begun:
            self.begun[key][-1] = how

    def end(self, key: str) -> None:
        """`key` came through."""
        self.begun.pop(key, None)


def given_up(ends: list[str]) -> str | None:
    """Why an item is not tried again, by the ends of the processes that had nothing else in hand; None: it is."""
    if len(ends) < MAX_DEATHS:
        return None
    kinds = ", ".join(dict.fromkeys(ends[:MAX_DEATHS]))  # later ones are of those that gave it up
    return f"{MAX_DEATHS} processes that worked on it, with nothing else in hand, ended early: {kinds}"


def isolate(
    call: Callable[[list[np.ndarray]], list[np.ndarray]],
    items: list[np.ndarray],
    keys: list[str],
    attempts: Attempts,
    stall_s: float = 0.0,
) -> tuple[list[np.ndarray | None], dict[int, RecordingError]]:
    """`call(items)`: a result or None for each item, and the error of each that has none.

    All in one call where nothing is wrong. One by one where an item raises RecordingError, or where the process died
    over these very items before; an item that was alone when it died MAX_DEATHS times is a failure. A call that takes
    longer than `stall_s` (0: any time) ends the process, and so does an error after which the device serves it no more.
    """

    def watched(part: list[np.ndarray], key: str) -> list[np.ndarray]:
        note = partial(attempts.note, key)
        try:
            with limited(stall_s, note):
                return call(part)
        except RuntimeError as error:
            if BROKEN_DEVICE.search(str(error)):
                leave(f"its device is broken: {str(error).splitlines()[0]}", note)
            raise

    batch = hashlib.sha256("\0".join(keys).encode(errors="surrogatepass")).hexdigest()
    if not attempts.begin(batch):
        try:
            results: list[np.ndarray | None] = list(watched(items, batch))
        except RecordingError:
            pass
        else:
            attempts.end(batch)
            return results, {}
    results, failures = [], {}
    for index, (item, key) in enumerate(zip(items, keys, strict=True)):
        why = given_up(attempts.begin(key))
        try:
            if why is not None:
                raise KillsItsActor(f"{why}. Leave it out; `voxmill retry RUN --error KillsItsActor` tries it again.")
            results.extend(watched([item], key))
        except RecordingError as error:
            results.append(None)
            failures[index] = error
        if why is None:  # the next process must know of the others, should a later item end this one
            attempts.end(key)
    for key in (*keys, batch):
        attempts.end(key)
    return results, failures
