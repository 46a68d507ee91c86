"""`input.min_s` and `input.max_s`: the length of a recording, as planned or as decoded -> kept, or `Skipped`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.audio.views import Piece
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

    def checked(
        self, pieces: Iterator[Piece], views: int, length: Callable[[int], int | None], rate: int, name: str
    ) -> Iterator[Piece]:
        """The `pieces` of as many views at `rate` Hz; one of another length is over with Skipped: at once where its
        `length` is known (samples), else as soon as it is too long, or at its end where it is too short."""
        samples, left = [0] * views, set(range(views))
        for piece in pieces:
            number = piece.view
            if number not in left:
                continue
            samples[number] += 0 if piece.block is None else len(piece.block)
            over = piece.block is None
            error = piece.error
            if error is None:
                known = length(number)
                error = self._why(known or samples[number], rate, name, over or known is not None)
            if over or error is not None:
                left.remove(number)
            yield Piece(number, None if error else piece.block, error)
            if not left:
                return

    def _why(self, samples: int, rate: int, name: str, whole: bool) -> Skipped | None:
        try:
            (self if whole else Lengths(None, self.max_s)).check(samples / rate, name)
        except Skipped as error:
            return error
        return None


ANY = Lengths()
"""Any length."""


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
