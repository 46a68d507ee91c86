"""Speech and a seed -> a folder of recordings as corpora have them: several formats and rates, lengths far apart."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.bench.sound_files import KINDS, Kind, write_sound
from pipeline.bench.speech import speech
from pipeline.errors import InputError

TYPICAL_S, SPREAD = 8.0, 1.0
"""Median of the log-normal lengths in seconds, and the standard deviation of their logarithm: two thirds lie between
3 and 22 s."""
SHORTEST_S, LONGEST_S = 1.0, 1200.0


@dataclass(frozen=True)
class Corpus:
    """A folder, and the seconds of each recording in it, by its name."""

    folder: Path
    seconds: dict[str, float]

    @property
    def audio_s(self) -> float:
        """Seconds of audio."""
        return sum(self.seconds.values())


def lengths(total_s: float, longest_s: float, random: np.random.Generator) -> list[float]:
    """Seconds of recordings that add up to `total_s`, in milliseconds; the last ones are shorter where they must be.

    Raises InputError where `total_s` or `longest_s` is less than the shortest recording.
    """
    if min(total_s, longest_s) < SHORTEST_S:
        raise InputError(f"{total_s:g} s of recordings of up to {longest_s:g} s; each has at least {SHORTEST_S:g} s.")
    found, left = list[float](), round(total_s, 3)
    while left >= SHORTEST_S:
        drawn = random.lognormal(np.log(TYPICAL_S), SPREAD)
        length = round(min(max(drawn, SHORTEST_S), longest_s, left), 3)
        found.append(length)
        left = round(left - length, 3)
    return found


def build(
    folder: Path,
    location: str | None,
    total_s: float,
    *,
    longest_s: float = LONGEST_S,
    seed: int = 0,
    kinds: tuple[Kind, ...] = KINDS,
) -> Corpus:
    """Write about `total_s` seconds of recordings to `folder`, from the speech at `location` (None: bundled clips).

    The same seed gives the same lengths, formats and stretches of speech. Raises InputError.
    """
    random = np.random.default_rng(seed)
    drawn = lengths(total_s, longest_s, random)
    chosen = random.permutation(np.arange(len(drawn)) % len(kinds))  # as many of each
    ends = np.cumsum(drawn)
    source = speech(location, ends[-1])
    seconds = {}
    folder.mkdir(parents=True)
    for number, (length, kind) in enumerate(zip(drawn, (kinds[index] for index in chosen), strict=True)):
        begin, end = round((ends[number] - length) * SAMPLE_RATE), round(ends[number] * SAMPLE_RATE)
        name = f"{number:06}.{kind.suffix}"
        write_sound(folder / name, source[begin:end], kind)
        seconds[name] = length
    return Corpus(folder, seconds)
