"""Codes int16 [F, 16] <-> the sequences that language models of audio are trained on. All of them invert exactly.

frames       [F, 16]       a step a frame, its codebooks side by side (what the codec gives)
interleaved  [F * 16]      a step a code, frame by frame: token = code + 2048 * codebook, 0..32767
delayed      [F + 15, 16]  codebook k is k steps late: step t holds frame t - k. The delay pattern of MusicGen (Copet et
                           al. 2023, "Simple and Controllable Music Generation", arXiv:2306.05284, section 2.1)
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from actors.contract import CODEBOOK_SIZE, NUM_CODEBOOKS
from pipeline.errors import InputError

VOCABULARY = NUM_CODEBOOKS * CODEBOOK_SIZE
"""Tokens of the interleaved layout: 0..32767. 32768 and up are free for text and special tokens."""
PAD = CODEBOOK_SIZE
"""The default pad of the delayed layout: the first number that is no code."""

Layout = Literal["frames", "interleaved", "delayed"]
_OFFSETS = np.arange(NUM_CODEBOOKS, dtype=np.int32) * CODEBOOK_SIZE


def interleave(codes: np.ndarray) -> np.ndarray:
    """int [F, 16] -> int32 [F * 16] in 0..32767. Raises ValueError for codes outside 0..2047."""
    _check_codes(codes)
    return (codes.astype(np.int32) + _OFFSETS).reshape(-1)


def deinterleave(tokens: np.ndarray) -> np.ndarray:
    """The inverse of `interleave`: int [F * 16] -> int16 [F, 16]. Raises ValueError for what it did not make."""
    if tokens.ndim != 1 or len(tokens) % NUM_CODEBOOKS:
        raise ValueError(f"tokens {list(tokens.shape)}, expected [F * {NUM_CODEBOOKS}]: whole frames")
    codes = tokens.reshape(-1, NUM_CODEBOOKS).astype(np.int64) - _OFFSETS
    _check_codes(codes)
    return codes.astype(np.int16)


def delay(codes: np.ndarray, pad: int = PAD) -> np.ndarray:
    """int [F, 16] -> int16 [F + 15, 16]; `pad` fills the corners. Raises ValueError for a pad that may be a code."""
    _check_codes(codes)
    if 0 <= pad < CODEBOOK_SIZE or not -(2**15) <= pad < 2**15:
        raise ValueError(f"pad {pad}: expected an int16 outside 0..{CODEBOOK_SIZE - 1}, which are codes")
    steps = np.full((len(codes) + NUM_CODEBOOKS - 1, NUM_CODEBOOKS), pad, np.int16)
    for k in range(NUM_CODEBOOKS):
        steps[k : k + len(codes), k] = codes[:, k]
    return steps


def undelay(steps: np.ndarray) -> np.ndarray:
    """The inverse of `delay`: int [F + 15, 16] -> int16 [F, 16]. Raises ValueError for what it did not make."""
    frames = len(steps) - NUM_CODEBOOKS + 1
    if steps.ndim != 2 or steps.shape[1] != NUM_CODEBOOKS or frames < 0:
        raise ValueError(f"steps {list(steps.shape)}, expected [F + {NUM_CODEBOOKS - 1}, {NUM_CODEBOOKS}]")
    codes = np.stack([steps[k : k + frames, k] for k in range(NUM_CODEBOOKS)], axis=1)
    _check_codes(codes)
    return codes.astype(np.int16)


def layout_of(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function that makes layout `name` of codes. Raises InputError for an unknown one."""
    layouts: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "frames": lambda codes: codes,
        "interleaved": interleave,
        "delayed": delay,
    }
    if name not in layouts:
        raise InputError(f"layout {name!r}: expected {', '.join(layouts)}")
    return layouts[name]


def _check_codes(codes: np.ndarray) -> None:
    if codes.ndim != 2 or codes.shape[1] != NUM_CODEBOOKS:
        raise ValueError(f"codes {list(codes.shape)}, expected [F, {NUM_CODEBOOKS}]")
    if codes.size and (codes.min() < 0 or codes.max() >= CODEBOOK_SIZE):
        raise ValueError(f"codes in {codes.min()}..{codes.max()}, expected 0..{CODEBOOK_SIZE - 1}")
