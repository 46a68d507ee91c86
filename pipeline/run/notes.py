"""What an attempt notes in its run while it goes on, for the one that comes after it if it is killed."""

import time
from collections.abc import Callable, Mapping, Sequence

from pyarrow.fs import FileSystem

from pipeline.run.containers import note_ended
from pipeline.run.held import TaskIds
from pipeline.run.sums import note_sums
from pipeline.sources.task import ReadTask
from pipeline.storage.atomic import Check

NOTE_EVERY_S = 60.0
"""An attempt that is killed has read containers, and made checksums, for at most as long for nothing."""


class Notes:
    """Which of an attempt's `tasks` came to their end, and the sha256 of the parts that it wrote."""

    def __init__(self, fs: FileSystem, run: str, tasks: Sequence[ReadTask], check: Check) -> None:
        self.fs, self.run, self.tasks, self.check = fs, run, tasks, check
        self.reports: list[TaskIds] = []
        self.summed: dict[str, str] = {}
        self.last_s = time.monotonic()

    def note(self, since: Callable[[int], list[TaskIds]], parts: Mapping[str, str | None], now: bool = False) -> None:
        """Where it is time: write what is new in `since` (of a `run.held.Held`), and in `parts` (of a
        `run.attempt.Attempt`). `now`, at the end of an attempt: the former; run.json will soon have the latter."""
        if time.monotonic() - self.last_s < NOTE_EVERY_S and not now:
            return
        reports = since(len(self.reports))
        self.reports += reports
        note_ended(self.fs, self.run, self.tasks, reports, self.check)
        if not now:
            sums = {name: found for name, found in parts.items() if found and self.summed.get(name) != found}
            note_sums(self.fs, self.run, sums, self.check)
            self.summed.update(sums)
        self.last_s = time.monotonic()
