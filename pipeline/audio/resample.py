"""Blocks of float32 [n, channels] at any rate -> blocks of mono float32 [m] at 24 kHz, bit-equal to upstream's loader.

Upstream loads with librosa: the mean over channels, then `librosa.resample` at its default "soxr_hq". A stream of soxr
gives the same bits in bounded memory, however the input is cut into blocks.

A stream may also begin inside a recording, so that several workers share one. soxr filters by Fourier transforms of
fixed blocks and by banks of filters that it goes through in turn, and sums of floats depend on where a block begins: a
stream that begins elsewhere gives the whole's bits only if its blocks fall where the whole's fell, `period` samples on.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import soxr

from actors.contract import SAMPLE_RATE, output_length

SUMMED_IN_ORDER = 7
"""Channels up to which np.mean adds one after the other: adding whole columns gives the same bits, much faster."""

AT_ONCE = 1 << 20
"""Samples of 22 s or more. A recording that has no more is resampled in one call, in two thirds of a stream's time."""

WARM_UP = SAMPLE_RATE
"""Samples at 24 kHz after which a stream that began inside a recording has forgotten so: measured, at most 1 789."""

_PERIODS = {
    8_000: 1_468,
    11_025: 120_540,
    12_000: 830,
    16_000: 1_468,
    22_050: 120_540,
    32_000: 1_108,
    44_100: 6_027,
    48_000: 1_660,
    64_000: 3_016,
    88_200: 492_744,
    96_000: 3_280,
    176_400: 324_576,
    192_000: 6_512,
}
"""Hz -> samples at that rate: the least shift, found by trying all, whose output is the whole's; libsoxr 0.1.3."""


@functools.cache
def period(rate: int) -> int | None:
    """A stream that begins at a multiple of so many samples at `rate` Hz gives the whole's bits after `WARM_UP`.

    None where no such number is known: of rates that few use, or of a soxr that cuts other blocks than the one that was
    measured, as a trial on noise tells (3-15 ms). A multiple of `rate` / gcd(`rate`, 24000): output begins on a sample.
    """
    if rate == SAMPLE_RATE:
        return 1
    shift = _PERIODS.get(rate)
    if shift is None:
        return None
    noise = np.random.default_rng(0).uniform(-1, 1, (shift + 3 * rate, 1)).astype(np.float32)
    whole = np.concatenate(list(resample(iter([noise]), rate)))[shift * SAMPLE_RATE // rate :]
    shifted = np.concatenate(list(resample(iter([noise[shift:]]), rate)))
    compared = slice(WARM_UP, 2 * SAMPLE_RATE)  # not the end: librosa's length may differ by a zero
    return shift if np.array_equal(whole[compared], shifted[compared]) else None


def start_before(sample: int, rate: int) -> int:
    """Where, in samples at `rate` Hz, to begin so that the output is the whole's from `sample` (at 24 kHz) on.

    0, which is always right, where `period` is not known.
    """
    if rate == SAMPLE_RATE:
        return sample
    shift = period(rate)
    return 0 if shift is None else max(0, sample - WARM_UP) * rate // SAMPLE_RATE // shift * shift


_seconds = 0.0


def seconds_resampling() -> float:
    """What this process has spent so far in `Resampler`, the mean over channels included."""
    return _seconds


def _clocked(call: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    @functools.wraps(call)
    def clocked(*given: Any) -> np.ndarray:
        global _seconds
        start = time.perf_counter()
        try:
            return call(*given)
        finally:
            _seconds += time.perf_counter() - start

    return clocked


class Resampler:
    """The state of one recording from `rate` Hz to mono at 24 kHz, as `resample` describes it."""

    def __init__(self, rate: int, start: int = 0) -> None:
        self.rate, self.samples, self.given = rate, start, start * SAMPLE_RATE // rate
        self.held: list[np.ndarray] | None = (
            None if start or rate == SAMPLE_RATE else []
        )  # until it is known to be long
        self.stream: soxr.ResampleStream | None = (
            None if rate == SAMPLE_RATE or self.held is not None else _stream(rate)
        )

    @_clocked
    def feed(self, block: np.ndarray) -> np.ndarray:
        """float32 [n, channels] -> float32 [m], what is ready; m may be 0."""
        wave = mono(block)
        self.samples += len(block)
        if self.held is not None:
            self.held.append(wave)
            if self.samples <= AT_ONCE:
                return np.empty(0, np.float32)
            wave, self.held, self.stream = np.concatenate(self.held), None, _stream(self.rate)
        resampled = wave if self.stream is None else self.stream.resample_chunk(wave)
        self.given += len(resampled)
        return resampled

    @_clocked
    def flush(self) -> np.ndarray:
        """float32 [m]: the rest, once the last block was fed."""
        length = output_length(self.samples, self.rate)
        rest = [self._at_once(length)] if self.held else []
        self.given += sum(map(len, rest))
        own = min(length, int(self.samples / (self.rate / SAMPLE_RATE) + 0.5))  # soxr rounds, librosa adds zeros
        while self.stream is not None and self.given < own:  # soxr's end would round the length of this stretch alone
            rest.append(self.stream.resample_chunk(np.zeros(4096, np.float32))[: own - self.given])
            self.given += len(rest[-1])
        if len(rest) != 1 or self.given < length:
            rest = [np.concatenate([*rest, np.zeros(length - self.given, np.float32)])]
            self.given = length
        return rest[0]

    @property
    def waiting(self) -> int:
        """Samples that were fed and are not resampled yet."""
        return sum(map(len, self.held or []))

    def _at_once(self, length: int) -> np.ndarray:
        """All that is held, as librosa calls soxr."""
        held = self.held or []
        wave = held[0] if len(held) == 1 else np.concatenate(held)
        return soxr.resample(wave, self.rate, SAMPLE_RATE, quality="HQ")[:length]


def _stream(rate: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")


def resample(blocks: Iterator[np.ndarray], rate: int, start: int = 0) -> Iterator[np.ndarray]:
    """float32 [n, channels] at `rate` Hz -> mono float32 [m], m > 0, at 24 kHz, `output_length(sum n, rate)` in all.

    Bit-equal to `librosa.resample(x.mean(axis=1), orig_sr=rate, target_sr=24000)` of the whole x. Audio that is at
    24 kHz already is only averaged. Where the blocks begin at sample `start` of a recording, a multiple of `period`,
    this is the whole's output from `start` * 24000 / `rate` on, but for the first `WARM_UP` samples.
    """
    stream = Resampler(rate, start)
    for block in blocks:
        resampled = stream.feed(block)
        if len(resampled):
            yield resampled
    rest = stream.flush()
    if len(rest):
        yield rest


def resample_from(blocks: Iterator[np.ndarray], rate: int, sample: int) -> Iterator[np.ndarray]:
    """The whole's output from `sample` (at 24 kHz) on, of blocks that begin at `start_before(sample, rate)`."""
    start = start_before(sample, rate)
    early = sample - start * SAMPLE_RATE // rate
    for block in resample(blocks, rate, start):
        if len(block) > early:
            yield block[early:]
        early = max(0, early - len(block))


def mono(block: np.ndarray) -> np.ndarray:
    """float32 [n, channels] -> float32 [n]: the mean over channels in float32, as `librosa.to_mono` has it."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    if channels > SUMMED_IN_ORDER:
        return np.mean(np.ascontiguousarray(block), axis=1)  # it sums in another order where channels lie apart
    total = block[:, 0] + np.float32(0)  # np.mean begins with +0 too, which shows where all samples are -0
    for channel in range(1, channels):
        total += block[:, channel]
    return np.divide(total, np.float32(channels), out=total)
