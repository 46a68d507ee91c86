"""Two waves -> how far apart they sound: the losses of train_demo, and the distance that demo_quality reports."""

import functools

import librosa
import torch
from torch.nn import functional as F

from actors.contract import SAMPLE_RATE
from actors.demo.lowband import lowpass

SCALES = ((256, 20), (512, 40), (1024, 80), (2048, 80))
"""(window in samples, mel bands) of the multi-scale distance; the hop is a quarter of the window."""
FLOOR = 1e-4
"""-80 dB below a full-scale sine: what is quieter counts as this."""
PATCH_WINDOW, PATCH_HOP = 960, 240
"""Log-mel patches that the auxiliary head predicts: 10 ms apart, eight to a codec frame."""
MEL_BANDS, FIRST_BAND, LAST_BAND = 80, 11, 71
"""Of the mel bands up to 12 kHz, those of a patch: 0.5 to 8 kHz. What lies below goes through the codes as a wave."""
PATCH_BANDS = LAST_BAND - FIRST_BAND + 1


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


def _log_mel(magnitude: torch.Tensor, window: int, bands: int) -> torch.Tensor:
    return (_mel_bank(window, bands, magnitude.device) @ magnitude).clamp(min=FLOOR).log()


def log_mel_distance(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the log-mel spectrograms (natural log) of waves [B, T], over all SCALES."""
    distances = []
    for window, bands in SCALES:
        ours, theirs = (magnitudes(wave, window, window // 4) for wave in (output, target))
        distances.append(F.l1_loss(_log_mel(ours, window, bands), _log_mel(theirs, window, bands)))
    return torch.stack(distances).mean()


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, its log-mel part) of waves [B, T]: log-mel distance plus relative distance of the magnitudes.

    The magnitudes keep the loud harmonics right, and silent what lies above the speech's own band. Phases are free: at
    this bit rate a waveform loss only asks for less of everything.
    """
    mels, linears = [], []
    for window, bands in SCALES:
        ours, theirs = (magnitudes(wave, window, window // 4) for wave in (output, target))
        mels.append(F.l1_loss(_log_mel(ours, window, bands), _log_mel(theirs, window, bands)))
        linears.append(F.l1_loss(ours, theirs) / theirs.mean().clamp(min=FLOOR))
    mel = torch.stack(mels).mean()
    return mel + 0.2 * torch.stack(linears).mean(), mel


def low_band_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Energy of the difference in the low band, relative to the target's, of waves [B, T]: the share of noise."""
    return lowpass(output - target).square().mean() / lowpass(target).square().mean().clamp(min=1e-6)


def patches(wave: torch.Tensor, steps: int) -> torch.Tensor:
    """wave [B, T] -> log-mel patches [B, steps, T / hop / steps * bands]: the auxiliary head's target."""
    shifted = F.pad(wave, (0, PATCH_HOP))[:, PATCH_HOP // 2 :]  # patch j is centred on the middle of its 10 ms
    frames = wave.shape[-1] // PATCH_HOP
    mel = _log_mel(magnitudes(shifted, PATCH_WINDOW, PATCH_HOP)[..., :frames], PATCH_WINDOW, MEL_BANDS)
    mel = mel[:, FIRST_BAND : LAST_BAND + 1]
    return mel.transpose(1, 2).reshape(len(wave), steps, -1)
