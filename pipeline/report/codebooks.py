"""Codes of some parts -> how each codebook is used: entries, entropy, perplexity; and which codes came how often."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyarrow.fs import FileSystem

from actors.contract import NUM_CODEBOOKS
from actors.pools.arrow import codes_arrays
from pipeline.run.parts import stream_part

MAX_FRAMES = 200_000
"""Frames that are read at most: 4.4 hours of audio, 6.4 MB of codes."""
MAX_PARTS = 40
"""Parts that they come from: those at the head of each."""
EXAMPLES = 2
"""Recordings whose codes are kept as they are."""
EXAMPLE_FRAMES = 125
"""Of each: 10 s."""


@dataclass(frozen=True)
class CodebookUse:
    """What the sampled frames say."""

    frames: int
    parts: int
    counts: np.ndarray  # int64 [16, size]: how often each code came
    examples: list[tuple[str, np.ndarray]]  # id, int16 [F, 16]

    @property
    def used(self) -> np.ndarray:
        """Share of the entries that came at least once, float64 [16]."""
        return (self.counts > 0).mean(1)

    @property
    def entropy_bits(self) -> np.ndarray:
        """Of each codebook's codes, float64 [16]; log2(size) at most."""
        shares = self.counts / max(1, self.frames)
        return -np.where(shares > 0, shares * np.log2(np.where(shares > 0, shares, 1)), 0).sum(1)

    @property
    def perplexity(self) -> np.ndarray:
        """2 ** entropy: how many equally frequent codes would be as hard to guess, float64 [16]."""
        return np.exp2(self.entropy_bits)


def read_codes(fs: FileSystem, paths: Sequence[str], size: int, seed: int = 0) -> CodebookUse | None:
    """The use of codebooks of `size` entries in a sample of the parts `paths`; None where there are no codes.

    Raises OutputError for a damaged part.
    """
    chosen = random.Random(seed).sample(sorted(paths), min(MAX_PARTS, len(paths)))
    share = -(-MAX_FRAMES // max(1, len(chosen)))
    counts, frames = np.zeros((NUM_CODEBOOKS, size), np.int64), 0
    examples: list[tuple[str, np.ndarray]] = []
    for path in chosen:
        of_part = 0
        for rows in stream_part(fs, path):
            arrays = [codes for codes in codes_arrays(rows["codes"]) if codes is not None]
            codes = np.concatenate(arrays)[: share - of_part]
            names = rows["id"].to_pylist()[: EXAMPLES - len(examples)]
            examples += [(name, one[:EXAMPLE_FRAMES]) for name, one in zip(names, arrays, strict=False)]
            counts += _counts(codes, size)
            of_part += len(codes)
            if of_part >= share:
                break
        frames += of_part
    return CodebookUse(frames, len(chosen), counts, examples) if frames else None


def _counts(codes: np.ndarray, size: int) -> np.ndarray:
    """int16 [F, 16] -> int64 [16, size]; codes outside are left out: `voxmill check` names them."""
    flat = codes.astype(np.int64) + np.arange(NUM_CODEBOOKS) * size
    inside = flat[(codes >= 0) & (codes < size)]
    return np.bincount(inside, minlength=NUM_CODEBOOKS * size).reshape(NUM_CODEBOOKS, size)
