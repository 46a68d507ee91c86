"""Where a run's time goes: what workers have spent -> counts for the bar, seconds by stage, a timeline.

Workers tell durations, not times of day: the clocks of nodes differ, so the meter's own says when a call ended.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from pipeline.cluster.metrics import Metrics
from pipeline.cluster.progress import Finished
from pipeline.cluster.spent import Spent, Worker
from pipeline.schema import STAGES

MAX_SLOTS = 120
"""Slots of a timeline; in a longer run each is twice as long, and so on."""
FIRST_SLOT_S = 1.0


class Meter:
    """Adds up what workers tell, in an actor of its own; a call that Ray does again counts again."""

    def __init__(self, last: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.last, self.clock, self.metrics = last, clock, Metrics(last)  # `last`: the pool that ends a recording
        self.start, self.slot_s = clock(), FIRST_SLOT_S
        self.spent: dict[str, Spent] = {}
        self.waited: defaultdict[str, float] = defaultdict(float)
        self.ended: dict[Worker, float] = {}  # when each worker's last call did
        self.workers: Counter[str] = Counter()  # of each stage
        self.audio: dict[str, list[float]] = {}  # by slots, seconds
        self.busy: dict[str, list[float]] = {}

    def add(self, worker: Worker, spent: Spent) -> None:
        """Called by a worker when its calls have ended; what it did not spend on them since it was last heard of, it
        waited."""
        now, stage = self.clock() - self.start, worker.stage
        waited = max(0.0, now - self.ended[worker] - spent.busy_s) if worker in self.ended else 0.0
        self.workers[stage] += worker not in self.ended
        self.ended[worker] = now
        self.waited[stage] += waited
        self.spent.setdefault(stage, Spent()).add(spent)
        while now >= MAX_SLOTS * self.slot_s:
            self._longer_slots()
        self._put(self.audio, stage, int(now / self.slot_s), spent.audio_s)
        self._spread(stage, max(0.0, now - spent.busy_s), now)
        self.metrics.add(stage, spent, self.workers, self.queued())

    def counts(self) -> Finished:
        """What the last pool has finished so far."""
        done = self.spent.get(self.last, Spent())
        return Finished(done.recordings, done.samples, done.failed)

    def record(self) -> dict[str, Any]:
        """ "stages" and "timeline" of an attempt in run.json."""
        seen = [stage for stage in STAGES if stage in self.spent]
        slots = max(map(len, [*self.audio.values(), *self.busy.values()]), default=0)
        series = {
            name: {stage: _rounded(values[stage], slots) for stage in seen}
            for name, values in (("audio_s", self.audio), ("busy_s", self.busy))
        }
        return {
            "stages": {stage: self._stage(stage, self.spent[stage]) for stage in seen},
            "timeline": {"slot_s": self.slot_s, **series},
        }

    def _stage(self, stage: str, spent: Spent) -> dict[str, Any]:
        workers = [worker for worker in self.ended if worker.stage == stage]
        device = spent.peak_device_mb
        found = {
            "workers": len(workers),
            "nodes": len({worker.node_id for worker in workers}),
            "calls": spent.calls,
            "busy_s": round(spent.busy_s, 3),
            "waited_s": round(self.waited[stage], 3),
            "audio_s": round(spent.audio_s, 3),
            "peak_memory_mb": round(spent.peak_memory_mb),
            "peak_device_mb": None if device is None else round(device),
        }
        return {**found, "resample_s": round(spent.resample_s, 3)} if stage == "read" else found

    def queued(self) -> dict[str, float]:
        """Seconds of audio before each stage but the first: what the stage before has finished, and it has not."""
        seen = [stage for stage in STAGES if stage in self.spent]
        done = [self.spent[stage].audio_s for stage in seen]
        return {stage: max(0.0, done[i] - done[i + 1]) for i, stage in enumerate(seen[1:])}

    def _spread(self, stage: str, begin: float, end: float) -> None:
        """Put the seconds from `begin` to `end` into the slots that they lie in."""
        for slot in range(int(begin / self.slot_s), int(end / self.slot_s) + 1):
            inside = min(end, (slot + 1) * self.slot_s) - max(begin, slot * self.slot_s)
            self._put(self.busy, stage, slot, inside)

    def _put(self, series: dict[str, list[float]], stage: str, slot: int, value: float) -> None:
        values = series.setdefault(stage, [])
        values.extend([0.0] * (slot + 1 - len(values)))
        values[slot] += value

    def _longer_slots(self) -> None:
        """Slots of twice the length: each is two of those before."""
        self.slot_s *= 2
        for series in (self.audio, self.busy):
            for stage, values in series.items():
                series[stage] = [sum(values[first : first + 2]) for first in range(0, len(values), 2)]


def _rounded(values: list[float], slots: int) -> list[float]:
    return [round(value, 3) for value in values] + [0.0] * (slots - len(values))
