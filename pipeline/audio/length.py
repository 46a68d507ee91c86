"""`input.min_s` and `input.max_s`: the length of a recording, as planned or as decoded -> kept, or `Skipped`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.errors import Skipped


@dataclass(frozen=True)
class Lengths:
    """The lengths of the recordings that are wanted, in seconds; None: any. Compared to the sample at 24 kHz."""

    min_s: float | None = None
    max_s: float | None = None

    def check(self, seconds: float, name: str) -> None:
        """Raises Skipped for a recording of another length."""
        if self.min_s is not None and _samples(seconds) < _samples(self.min_s):
            raise Skipped(f"{name}: it lasts {seconds:.3f} s, less than input.min_s = {self.min_s:g}")
        if self.max_s is not None and _samples(seconds) > _samples(self.max_s):
            raise Skipped(f"{name}: it lasts {seconds:.3f} s or more, more than input.max_s = {self.max_s:g}")

    def outside(self, seconds: np.ndarray) -> np.ndarray:
        """bool [n]: which of these lengths `check` refuses."""
        samples = np.round(seconds * SAMPLE_RATE)
        short = samples < _samples(self.min_s or 0.0)
        return short if self.max_s is None else short | (samples > _samples(self.max_s))

    def checked(self, blocks: Iterator[np.ndarray], rate: int, name: str) -> Iterator[np.ndarray]:
        """The `blocks` [n, channels] of a recording at `rate` Hz; raises Skipped as soon as it is too long, or at its
        end where it is too short."""
        samples = 0
        longest = Lengths(None, self.max_s)
        for block in blocks:
            samples += len(block)
            longest.check(samples / rate, name)
            yield block
        self.check(samples / rate, name)


ANY = Lengths()
"""Any length."""


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
