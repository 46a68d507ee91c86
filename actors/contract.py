"""The codec's contract: its rates, frame and codebooks, and the protocol of an engine.

Letters: T samples, F frames, K = 16 codebooks. Rates are in Hz, seconds end in `_s`.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from actors.errors import BadCodes, UnsupportedAudio

SAMPLE_RATE = 24_000
"""Hz, in and out: `input_sample_rate` of the official config."""
FRAME_SAMPLES = 1_920
"""Samples of one codec frame (80 ms): `encode_downsample_rate` of the official config."""
FRAME_RATE = SAMPLE_RATE / FRAME_SAMPLES
"""12.5 frames a second."""
NUM_CODEBOOKS = 16
"""K: `encoder_valid_num_quantizers` of the official config."""
CODEBOOK_SIZE = 2048
"""Codes of one codebook: `codebook_size` of the official config. Other checkpoints may have fewer, see
`checkpoint.codebook_size`."""

OFFICIAL_MODEL = "Qwen/Qwen3-TTS-Tokenizer-12Hz"
OFFICIAL_REVISION = "7dd38ad4e9bad454aae9cd937d0cd577604fe229"
"""The hub id of the codec, and the commit that is downloaded."""


def frame_count(samples: int) -> int:
    """Codec frames that hold `samples` samples at 24 kHz; the last one may be padded."""
    return -(-samples // FRAME_SAMPLES)


RATES = range(4_000, 192_001)
"""Hz of audio that is resampled to 24 kHz, in recordings and streams."""


def output_length(samples: int, rate: int) -> int:
    """Samples at 24 kHz of `samples` samples at `rate` Hz: librosa's formula, in double precision as it has it.

    It may be one more than the exact ceil(samples * 24000 / rate), where the product is rounded up past a whole number.
    """
    if rate == SAMPLE_RATE:
        return samples
    return math.ceil(samples * (SAMPLE_RATE / rate))


def check_wave(index: int, wave: np.ndarray) -> None:
    """Raise UnsupportedAudio if wave number `index` is no array float32 [T]. Its samples are checked when copied."""
    if not isinstance(wave, np.ndarray) or wave.dtype != np.float32 or wave.ndim != 1:
        seen = f"{wave.dtype} {list(wave.shape)}" if isinstance(wave, np.ndarray) else type(wave).__name__
        expected = f"expected a NumPy array float32 [samples] at {SAMPLE_RATE} Hz"
        raise UnsupportedAudio(f"wave {index} is {seen}; {expected}{_converted(wave)}.")


def check_codes(index: int, codes: np.ndarray, size: int) -> None:
    """Raise BadCodes if codes number `index` are no array of integers [F, K] in 0..size - 1."""
    expected = f"expected a NumPy array int16 [frames, {NUM_CODEBOOKS}] in 0..{size - 1}{_converted(codes)}."
    if not isinstance(codes, np.ndarray):
        raise BadCodes(f"codes {index} are a {type(codes).__name__}; {expected}")
    if codes.dtype.kind not in "iu" or codes.ndim != 2 or codes.shape[1] != NUM_CODEBOOKS:
        raise BadCodes(f"codes {index} are {codes.dtype} {list(codes.shape)}; {expected}")
    if codes.size and (codes.min() < 0 or codes.max() >= size):
        raise BadCodes(f"codes {index} reach from {codes.min()} to {codes.max()}; {expected}")


def _converted(item: object) -> str:
    """How a tensor becomes an array; it is known without PyTorch."""
    return ": give its .cpu().numpy()" if hasattr(item, "numpy") else ""


class Engine(Protocol):
    """A loaded codec, of which the actor pools call `encode` and `decode`; `actors.codec.Codec` is one."""

    sample_rate: int  # Hz
    frame_rate: float  # Hz
    num_codebooks: int
    codebook_size: int
    fingerprint: str  # sha256 of the weights, in hex

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [T] each, 24 kHz mono -> codes int16 [frame_count(T), K] each."""

    def decode(self, codes: Sequence[np.ndarray], pcm16: bool = False) -> list[np.ndarray]:
        """codes int16 [F, K] each -> float32 [F * FRAME_SAMPLES] each, in [-1, 1]; `pcm16`: int16, round(32767 x)."""
