"""Two recordings of the same speech -> how much of the first one's pitch the second keeps; how silent silence stays."""

from typing import NamedTuple

import librosa
import numpy as np

from actors.contract import SAMPLE_RATE

LOWEST, HIGHEST = 60.0, 500.0
"""Hz that a voice's fundamental is looked for in."""
HOP, WINDOW = 480, 2048
"""Samples between pitch frames, and that one is found in."""
NEAR = 0.2
"""A pitch is right within this share of the recording's."""


class PitchErrors(NamedTuple):
    """Shares 0..1; each counts frames of 20 ms."""

    frames: float
    """Of all frames, those of another voicing than the recording's, or voiced in both and off by more than NEAR."""
    voiced: float
    """Of the recording's voiced frames, those that are unvoiced or off by more than NEAR."""
    gross: float
    """Of the frames voiced in both, those off by more than NEAR."""


def pitch(wave: np.ndarray) -> np.ndarray:
    """wave float32 [T] at 24 kHz -> Hz of each 20 ms, NaN where unvoiced (librosa's pyin)."""
    found, _, _ = librosa.pyin(
        wave, fmin=LOWEST, fmax=HIGHEST, sr=SAMPLE_RATE, frame_length=WINDOW, hop_length=HOP, resolution=0.2
    )
    return np.asarray(found)


def compare_pitch(output: np.ndarray, target: np.ndarray) -> PitchErrors:
    """Pitch tracks [N] of the output and of the recording, NaN where unvoiced -> errors; NaN where nothing counts."""
    said, heard = ~np.isnan(target), ~np.isnan(output)
    both = said & heard
    off = both.copy()
    off[both] = np.abs(output[both] / target[both] - 1) > NEAR
    missed, added = said & ~heard, heard & ~said

    def share(bad: np.ndarray, of: np.ndarray) -> float:
        return float(bad.sum() / of.sum()) if of.any() else float("nan")

    everything = np.ones_like(said)
    return PitchErrors(share(off | missed | added, everything), share(off | missed, said), share(off, both))


def quiet_noise(seconds: float = 4.0, level: float = -60.0, seed: int = 0) -> np.ndarray:
    """White noise float32 [T] of `level` dBFS: the loudest that counts as silence."""
    noise = np.random.default_rng(seed).normal(0, 10 ** (level / 20), int(seconds * SAMPLE_RATE))
    return noise.astype(np.float32)
