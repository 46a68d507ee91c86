"""What a run's parts hold, in numbers; grows part by part, and does not grow with their rows."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from actors.contract import SAMPLE_RATE

DURATIONS_S = np.geomspace(0.01, 1e6, 1601)
"""Edges of the fine histogram of durations: a bin is 1.2 % wide, and quantiles are as exact as that."""


@dataclass
class Corpus:
    """Counts are of recordings, unless they say otherwise."""

    recordings: int = 0  # with all their chunks
    partial: int = 0  # that lack chunks
    begun: int = 0  # whose first chunk is there: what run.json counts
    chunks: int = 0
    samples: int = 0  # at 24 kHz
    frames: int = 0
    doubles: int = 0  # ids that are in codes, failures and skipped more than once
    durations: np.ndarray = field(default_factory=lambda: np.zeros(len(DURATIONS_S) + 1, np.int64))
    shortest_s: float = float("inf")
    longest_s: float = 0.0
    by: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)  # kind, value -> recordings, hours
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)  # of (stage, error)
    examples: dict[tuple[str, str], list[dict[str, str]]] = field(default_factory=dict)
    skipped: int = 0
    parts: list[str] = field(default_factory=list)  # names of those of codes

    @property
    def failed(self) -> int:
        """In RUN/failures."""
        return self.failures.total()

    @property
    def accounted(self) -> int:
        """In codes, failures and skipped together."""
        return self.recordings + self.failed + self.skipped

    @property
    def hours(self) -> float:
        """Of audio that has codes."""
        return self.samples / SAMPLE_RATE / 3600

    @property
    def seams(self) -> int:
        """Between two chunks of one recording, as far as all are there."""
        return max(0, self.chunks - self.recordings - self.partial)

    def see_lengths(self, samples: np.ndarray) -> None:
        """Count recordings of these lengths, int64 [n] at 24 kHz."""
        if len(samples):
            lengths_s = samples / SAMPLE_RATE
            self.durations += np.bincount(np.searchsorted(DURATIONS_S, lengths_s), minlength=len(self.durations))
            self.shortest_s = min(self.shortest_s, float(lengths_s.min()))
            self.longest_s = max(self.longest_s, float(lengths_s.max()))

    def length_s(self, share: float) -> float:
        """The duration that `share` of the recordings do not exceed; 0 without recordings."""
        if not self.durations.any():
            return 0.0
        at = int(np.searchsorted(np.cumsum(self.durations), share * self.durations.sum()))
        return float(np.clip(DURATIONS_S[min(at, len(DURATIONS_S) - 1)], self.shortest_s, self.longest_s))
