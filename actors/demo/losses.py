"""Two waves -> the losses of train_demo."""

import torch
from torch.nn import functional as F

from actors.demo.lowband import lowpass
from actors.measures import FLOOR, SCALES, log_mel, magnitudes

PATCH_WINDOW, PATCH_HOP = 960, 240
"""Log-mel patches that the auxiliary head predicts: 10 ms apart, eight to a codec frame."""
MEL_BANDS, FIRST_BAND, LAST_BAND = 80, 11, 71
"""Of the mel bands up to 12 kHz, those of a patch: 0.5 to 8 kHz. What lies below goes through the codes as a wave."""
PATCH_BANDS = LAST_BAND - FIRST_BAND + 1


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, its log-mel part) of waves [B, T]: log-mel distance plus relative distance of the magnitudes.

    The magnitudes keep the loud harmonics right, and silent what lies above the speech's own band. Phases are free: at
    this bit rate a waveform loss only asks for less of everything.
    """
    mels, linears = [], []
    for window, bands in SCALES:
        ours, theirs = (magnitudes(wave, window, window // 4) for wave in (output, target))
        mels.append(F.l1_loss(log_mel(ours, window, bands), log_mel(theirs, window, bands)))
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
    mel = log_mel(magnitudes(shifted, PATCH_WINDOW, PATCH_HOP)[..., :frames], PATCH_WINDOW, MEL_BANDS)
    mel = mel[:, FIRST_BAND : LAST_BAND + 1]
    return mel.transpose(1, 2).reshape(len(wave), steps, -1)
