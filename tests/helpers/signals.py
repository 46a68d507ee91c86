"""Synthetic signals and codes, and the difference of two signals."""

import numpy as np

from actors.contract import FRAME_SAMPLES


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """float32 [T]: noise whose level changes five times a second, at speech's levels."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(samples // 4800 + 1), 4800)[:samples]
    return (0.3 * level * rng.standard_normal(samples)).astype(np.float32)


def hard_cases(samples: int = 9 * FRAME_SAMPLES) -> dict[str, np.ndarray]:
    """Signals on which half precision overflows first."""
    time = np.arange(samples)
    clicks = np.where(time % 4801 == 17, 1.0, 0.0)
    square = np.where(time // 60 % 2, 1.0, -1.0)
    cases = {"silence": 0 * time, "square": square, "direct current": time * 0 + 1, "clicks": clicks}
    return {name: wave.astype(np.float32) for name, wave in cases.items()}


def padded(wave: np.ndarray) -> np.ndarray:
    return np.pad(wave, (0, -len(wave) % FRAME_SAMPLES))


def decibels(wave: np.ndarray, reference: np.ndarray) -> float:
    """Signal to error ratio."""
    error = float(np.square(wave - reference, dtype=np.float64).sum())
    return 10 * np.log10(np.square(reference, dtype=np.float64).sum() / max(error, 1e-30))


def random_codes(frames: int, seed: int = 0, size: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, size, (frames, 16), np.int16)
