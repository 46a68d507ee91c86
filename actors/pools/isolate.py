"""A batch -> results, where one bad item may raise, or end the process: only that item fails."""

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from actors.errors import KillsItsActor, RecordingError

MAX_DEATHS = 2
"""An item that was alone in a process that died so often is given up; once may be bad luck: a preempted node, say."""


class Attempts(Protocol):
    """Remembers, outside the process that may die, what was begun and never ended."""

    def begin(self, key: str) -> int:
        """How often `key` was begun before and not ended since."""

    def end(self, key: str) -> None:
        """`key` came through."""


class Ledger:
    """`Attempts` in memory; the dataflow keeps one in an actor of its own."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def begin(self, key: str) -> int:
        """How often `key` was begun before and not ended since."""
        self.begun[key] = self.begun.get(key, 0) + 1
        return self.begun[key] - 1

    def end(self, key: str) -> None:
        """`key` came through."""
        self.begun.pop(key, None)


def isolate(
    call: Callable[[list[np.ndarray]], list[np.ndarray]],
    items: list[np.ndarray],
    keys: list[str],
    attempts: Attempts,
) -> tuple[list[np.ndarray | None], dict[int, RecordingError]]:
    """`call(items)`: a result or None for each item, and the error of each that has none.

    All in one call where nothing is wrong. One by one where an item raises RecordingError, or where the process died
    over these very items before; an item that was alone when it died MAX_DEATHS times is a failure.
    """
    batch = hashlib.sha256("\0".join(keys).encode(errors="surrogatepass")).hexdigest()
    if not attempts.begin(batch):
        try:
            results: list[np.ndarray | None] = list(call(items))
        except RecordingError:
            pass
        else:
            attempts.end(batch)
            return results, {}
    results, failures = [], {}
    for index, (item, key) in enumerate(zip(items, keys, strict=True)):
        deaths = attempts.begin(key)
        try:
            if deaths >= MAX_DEATHS:
                raise KillsItsActor(
                    f"the process that worked on it died {MAX_DEATHS} times, with nothing else in hand."
                )
            results.extend(call([item]))
        except RecordingError as error:
            results.append(None)
            failures[index] = error
        if deaths < MAX_DEATHS:  # the next process must know of the others, should a later item end this one
            attempts.end(key)
    for key in (*keys, batch):
        attempts.end(key)
    return results, failures
