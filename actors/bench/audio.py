"""A folder of audio files, or a number -> clips float32 [T] at 24 kHz; codes of as many frames."""

from pathlib import Path

import numpy as np

from actors.contract import NUM_CODEBOOKS, SAMPLE_RATE, frame_count
from actors.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def read_clips(folder: Path, count: int) -> list[np.ndarray]:
    """At most `count` audio files under a folder, the first ones by name. Raises InputError where there is none, or
    one that cannot be read."""
    import soundfile
    import soxr

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:count]
    if not paths:
        raise InputError(f"No audio under {folder}. The benchmark takes a folder of {', '.join(SUFFIXES)} files.")
    clips = []
    for path in paths:
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{path} cannot be read ({error.error_string}) Take it out of the folder.") from error
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


def fresh_clips(total_s: float, seed: int, longest_s: float) -> list[np.ndarray]:
    """Noise of together `total_s` or little more; other lengths for every seed, so that no shape was seen before.

    Lengths as in LibriSpeech: a median of 6.3 s, at least 1.3 s. The level changes five times a second.
    """
    rng, noise = np.random.default_rng(seed), _noise(min(longest_s, 60.0))
    clips, held = [], 0.0
    while held < total_s:
        seconds = float(np.clip(rng.lognormal(np.log(6.3), 0.6), 1.3, longest_s)) * rng.uniform(0.8, 1.0)
        clips.append(_levelled(noise, round(seconds * SAMPLE_RATE), rng))
        held += seconds
    return clips


def long_clip(seconds: float) -> np.ndarray:
    """One recording of noise."""
    return _levelled(_noise(60.0), round(seconds * SAMPLE_RATE), np.random.default_rng(0))


def codes_like(waves: list[np.ndarray], size: int, seed: int) -> list[np.ndarray]:
    """Random codes below `size`, int16 [F, 16], of as many frames as the waves have."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, size, (frame_count(len(wave)), NUM_CODEBOOKS), np.int16) for wave in waves]


def _noise(seconds: float) -> np.ndarray:
    return 0.3 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE), np.float32)


def _levelled(noise: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """`samples` of noise, repeated where there is less of it, in another level every 0.2 s."""
    step = SAMPLE_RATE // 5
    level = np.repeat(rng.random(samples // step + 1, np.float32), step)[:samples]
    return level * np.resize(noise, samples)
