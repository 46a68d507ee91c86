"""A folder of speech -> clips at 24 kHz, some of them held out; clips -> random crops to train on."""

from pathlib import Path

import av
import librosa
import numpy as np
import torch

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from actors.errors import InputError

HELD_OUT_EVERY = 10
"""Every tenth clip, in the order of names, is never trained on."""


def read_speech(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(clips to train on, clips held out), float32 [T] at 24 kHz, of every .flac and .wav in `folder`, by name.

    Raises InputError for fewer than 2.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".flac", ".wav"))
    if len(paths) < 2:
        raise InputError(f"{folder} holds {len(paths)} .flac or .wav files; training needs at least 2.")
    clips = [librosa.load(path, sr=SAMPLE_RATE, mono=True, res_type="soxr_hq")[0] for path in paths]
    every = min(HELD_OUT_EVERY, len(clips))
    held_out = clips[every - 1 :: every]
    del clips[every - 1 :: every]
    return clips, held_out


def read_clips(folder: Path) -> dict[str, np.ndarray]:
    """Every recording below `folder` that FFmpeg reads, by its path there: float32 [T] at 24 kHz, mono."""
    clips = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        resample = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        try:
            with av.open(str(path)) as file:
                frames = [*file.decode(audio=0), None]  # None: what the resampler still holds
                blocks = [out for frame in frames for out in resample.resample(frame)]
        except av.FFmpegError:
            continue  # one of the bundled clips is broken on purpose
        clips[path.relative_to(folder).as_posix()] = np.concatenate([block.to_ndarray()[0] for block in blocks])
    return clips


def draw_batch(clips: list[np.ndarray], size: tuple[int, int], seed: int, step: int) -> torch.Tensor:
    """Random crops float32 [B, T] of random loudness; the same for the same seed and step."""
    random = np.random.default_rng((seed, step))
    weights = np.array([len(clip) for clip in clips], dtype=float)
    samples = size[1] * FRAME_SAMPLES
    crops = []
    for index in random.choice(len(clips), size=size[0], p=weights / weights.sum()):
        start = int(random.integers(-FRAME_SAMPLES, max(1, len(clips[index]) - samples + FRAME_SAMPLES)))
        crop = clips[index][max(0, start) : max(0, start + samples)]
        crop = np.pad(crop, (max(0, -start), 0))[:samples]
        crop = np.pad(crop, (0, samples - len(crop)))
        gain = 10 ** (random.uniform(-10, 6) / 20)
        crops.append(crop * min(gain, 0.95 / max(1e-6, float(np.abs(crop).max()))))
    return torch.from_numpy(np.stack(crops).astype(np.float32))
