"""Blocks of float32 [n, channels] at any rate -> blocks of mono float32 [m] at 24 kHz, bit-equal to upstream's loader.

Upstream loads with librosa: the mean over channels, then `librosa.resample` at its default "soxr_hq". A stream of soxr
gives the same bits in bounded memory, however the input is cut into blocks.
"""

import math
from collections.abc import Iterator

import numpy as np
import soxr

from pipeline.schema import SAMPLE_RATE


def output_length(samples: int, rate: int) -> int:
    """Samples at 24 kHz of `samples` samples at `rate` Hz: librosa's formula, in double precision as it has it.

    It may be one more than the exact ceil(samples * 24000 / rate), where the product is rounded up past a whole number.
    """
    if rate == SAMPLE_RATE:
        return samples
    return math.ceil(samples * (SAMPLE_RATE / rate))


def resample(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """float32 [n, channels] at `rate` Hz -> mono float32 [m], m > 0, at 24 kHz, `output_length(sum n, rate)` in all.

    Bit-equal to `librosa.resample(x.mean(axis=1), orig_sr=rate, target_sr=24000)` of the whole x. Audio that is at
    24 kHz already is only averaged.
    """
    if rate == SAMPLE_RATE:
        for block in blocks:
            if len(block):
                yield mono(block)
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    samples = given = 0
    for block in blocks:
        samples += len(block)
        resampled = stream.resample_chunk(mono(block))
        given += len(resampled)
        if len(resampled):
            yield resampled
    tail = stream.resample_chunk(np.empty(0, np.float32), last=True)[: output_length(samples, rate) - given]
    missing = output_length(samples, rate) - given - len(tail)  # soxr rounds the length, librosa fills up with zeros
    tail = np.concatenate([tail, np.zeros(missing, np.float32)])
    if len(tail):
        yield tail


def mono(block: np.ndarray) -> np.ndarray:
    """float32 [n, channels] -> float32 [n]: the mean over channels in float32, as `librosa.to_mono` has it."""
    return block[:, 0] if block.shape[1] == 1 else np.mean(block, axis=1)
