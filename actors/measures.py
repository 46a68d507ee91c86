"""Waves at 24 kHz -> how loud they are, and how far two of the same speech are apart.

The training of the demo checkpoint minimizes the log-mel distance; its model card and the report of a run give all.
"""

import functools

import librosa
import numpy as np
import torch
from torch.nn import functional as F

from actors.contract import SAMPLE_RATE

SCALES = ((256, 20), (512, 40), (1024, 80), (2048, 80))
"""(window in samples, mel bands) of the multi-scale distance; the hop is a quarter of the window."""
FLOOR = 1e-4
"""-80 dB below a full-scale sine: what is quieter counts as this."""


@functools.cache
def _mel_bank(window: int, bands: int, device: torch.device) -> torch.Tensor:
    bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=window, n_mels=bands, norm=None)
    return torch.from_numpy(bank / bank.sum(1, keepdims=True).clip(1e-9)).to(device)


@functools.cache
def _hann(window: int, device: torch.device) -> torch.Tensor:
    return torch.hann_window(window, device=device)


def magnitudes(wave: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """wave [B, T] -> magnitudes [B, window / 2 + 1, 1 + T / hop]; a full-scale sine has 1. Frames are centred."""
    hann = _hann(window, wave.device)
    spectrum = torch.stft(wave, window, hop, window=hann, center=True, pad_mode="constant", return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1).clamp(min=1e-14).sqrt() * (2 / hann.sum())


def log_mel(magnitude: torch.Tensor, window: int, bands: int) -> torch.Tensor:
    """`magnitudes` [B, window / 2 + 1, N] -> natural logarithm of their mel bands [B, bands, N], FLOOR at least."""
    return (_mel_bank(window, bands, magnitude.device) @ magnitude).clamp(min=FLOOR).log()


def log_mel_distance(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the log-mel spectrograms (natural log) of waves [B, T], over all SCALES."""
    distances = []
    for window, bands in SCALES:
        ours, theirs = (magnitudes(wave, window, window // 4) for wave in (output, target))
        distances.append(F.l1_loss(log_mel(ours, window, bands), log_mel(theirs, window, bands)))
    return torch.stack(distances).mean()


def distance(output: np.ndarray, target: np.ndarray) -> float:
    """`log_mel_distance` of waves float32 [T]."""
    return log_mel_distance(*(torch.from_numpy(np.ascontiguousarray(wave))[None] for wave in (output, target))).item()


def si_sdr(output: np.ndarray, target: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio of waves [T], in dB; infinite for equal ones."""
    output, target = (wave.astype(np.float64) - wave.mean() for wave in (output, target))
    wanted = (output @ target) / (target @ target) * target
    noise = (output - wanted) @ (output - wanted)
    return float(10 * np.log10((wanted @ wanted) / noise)) if noise else float("inf")


def intelligibility(output: np.ndarray, target: np.ndarray) -> float:
    """STOI of waves [T], 0..1. Raises ImportError without pystoi."""
    from pystoi import stoi

    return float(stoi(target, output, SAMPLE_RATE))


def level_db(wave: np.ndarray) -> float:
    """Root mean square of a wave in dBFS (full scale: 1), -200 for digital silence."""
    return float(20 * np.log10(max(1e-10, np.sqrt(np.mean(np.square(wave, dtype=np.float64))))))
