"""A folder of audio files, or a number -> clips float32 [T] at 24 kHz."""

from pathlib import Path

import numpy as np

from actors.contract import SAMPLE_RATE
from actors.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def read_clips(folder: Path, count: int) -> list[np.ndarray]:
    """At most `count` audio files under a folder, the first ones by name. Raises InputError where there is none."""
    import soundfile
    import soxr

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:count]
    if not paths:
        raise InputError(f"No audio under {folder}. The benchmark takes a folder of {', '.join(SUFFIXES)} files.")
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clips.append(soxr.resample(samples.mean(1), rate, SAMPLE_RATE).astype(np.float32))
    return clips


def made_clips(count: int, longest_s: float = 12.0) -> list[np.ndarray]:
    """Seeded noise of 1 s to `longest_s`; its level changes every quarter second. Content does not affect speed."""
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(count):
        quarters = rng.integers(4, round(longest_s * 4) + 1)
        level = np.repeat(rng.random(quarters), SAMPLE_RATE // 4)
        clips.append((0.2 * level * rng.standard_normal(len(level))).astype(np.float32))
    return clips
