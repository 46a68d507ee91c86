"""What one command does to a run: what it committed, what it found on the way, and the times that run.json keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from actors.contract import SAMPLE_RATE


@dataclass
class Attempt:
    """The sum of all executions of a command; but `lost`, `held` and `shaky` are those of the last execution, `times`
    those of the one with the most audio."""

    started: str
    parts: dict[str, str | None] = field(default_factory=dict)  # sha256 of parts by their names; None: it is gone
    samples: int = 0  # committed, at 24 kHz
    undecoded: set[str] = field(default_factory=set)  # ids of chunks without a reconstruction
    wall_s: float = 0.0
    lost: bool = False  # GPUs were lost and it ended early: the rest is to be read on the GPUs that are left
    unheard: bool = False  # an execution was lost, whose last parts may be missing in `parts` and `undecoded`
    held: dict[int, pa.Array] = field(default_factory=dict)  # ids that containers held, by the numbers of their tasks
    shaky: frozenset[str] = frozenset()  # ids of nodes that could not fetch what another attempt may fetch
    times: dict[str, Any] = field(default_factory=dict)  # "stages", "timeline"

    def take(self, written: Mapping[str, Any]) -> None:
        """A row of WRITTEN_SCHEMA."""
        self.samples += written["samples"]
        self.undecoded.update(written["undecoded"])
        if written["codes_part"]:
            self.parts[written["codes_part"]] = written["codes_sha256"]

    def add(self, again: "Attempt") -> None:
        """Another reading, of what was missing."""
        self.times = max(self, again, key=lambda one: one.samples).times
        self.parts |= again.parts
        self.samples += again.samples
        self.undecoded |= again.undecoded
        self.unheard |= again.unheard
        self.wall_s += again.wall_s
        self.lost, self.held, self.shaky = again.lost, again.held, again.shaky

    def record(self, finished: str, command: str) -> dict[str, Any]:
        """As one of run.json's "attempts"."""
        audio_s, wall_s = self.samples / SAMPLE_RATE, round(self.wall_s, 3)
        return {
            "started": self.started,
            "finished": finished,
            "command": command,
            "wall_s": wall_s,
            "audio_s": audio_s,
            "times_real_time": round(audio_s / max(wall_s, 1e-3), 2),
            **self.times,
        }
