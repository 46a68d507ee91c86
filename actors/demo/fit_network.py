"""A fresh network and clips of speech -> the same network, every layer fitted from the wave to the wave; it speaks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from actors.contract import NUM_CODEBOOKS
from actors.demo.codebooks import fit_codebooks, set_codebook
from actors.demo.lowband import low_frames
from actors.demo.lowvoice import hold_low_voice
from actors.demo.network import HIGH, LOW, branches, decoder_latents, dequantized, latents
from actors.demo.speech import draw_batch
from actors.demo.start_decoder import hold_constants, start_decoder, start_projections
from actors.demo.start_encoder import bank_levels, frame_patches, start_encoder, teach_encoder
from actors.demo.vocoder import firsts, set_bank, start_vocoder

BATCHES, CROP = 100, (4, 20)
"""Batches that layers are fitted to, and their (clips, codec frames)."""
TAUGHT_BATCHES, SPECTRUM_BATCHES = 330, 500
"""Batches that the encoder is taught, and those that the spectrum's codebooks are fitted to."""
LOW_BATCHES, LOW_CROP = 1000, (32, 20)
"""Batches for the low band's codebooks: fitted to 26,000 frames they were 1.4 dB noisier than to 280,000."""
ORDER = "HLHLHLLHLHLLHLHL"
"""What each codebook quantizes: nine the low band's wave, seven the spectrum above. The first is the semantic one."""


@torch.no_grad()
def fit_network(network: Any, head: nn.Linear, clips: list[np.ndarray], seed: int) -> None:
    """Fit every layer to the latents and spectra of some batches of `clips`, float32 [T] at 24 kHz each."""
    device, training = head.weight.device, network.training
    network.eval()
    batches = [draw_batch(clips, CROP, seed + 1, i).to(device) for i in range(BATCHES)]
    low_basis, basis = start_encoder(network, batches)
    levels, targets = [], []
    for index in range(TAUGHT_BATCHES):
        wave = draw_batch(clips, CROP, seed + 2, index).to(device)
        levels.append(bank_levels(network, wave).half())
        targets.append(basis.project(frame_patches(wave, CROP[1])).reshape(len(wave), CROP[1], HIGH))
    with torch.enable_grad():
        teach_encoder(network, torch.cat(levels), torch.cat(targets))
    low_rows = torch.cat([low_basis.project(low_frames(wave.to(device))) for wave in low_waves(clips, seed + 3)])
    drawn = (draw_batch(clips, CROP, seed + 4, index).to(device) for index in range(SPECTRUM_BATCHES))
    hidden = torch.cat([latents(network, wave)[:, LOW : LOW + HIGH].transpose(1, 2) for wave in drawn])
    start_codebooks(network, low_rows, hidden.flatten(0, 1))
    start_projections(network)
    set_bank(network.decoder)
    waves = torch.cat(batches)
    hidden = torch.cat([latents(network, wave) for wave in batches])
    used = torch.full((len(hidden),), NUM_CODEBOOKS, device=device)
    start_decoder(network, head, dequantized(network, hidden, used), waves)
    start_vocoder(network.decoder, decoder_latents(network, hidden, used), waves)
    network.train(training)


def low_waves(clips: list[np.ndarray], seed: int) -> Iterator[torch.Tensor]:
    """LOW_BATCHES waves [B, T], each crop as it is or upside down: the same sound, another wave."""
    random = np.random.default_rng(seed)
    for index in range(LOW_BATCHES):
        signs = random.choice([-1.0, 1.0], (LOW_CROP[0], 1)).astype(np.float32)
        yield draw_batch(clips, LOW_CROP, seed, index) * torch.from_numpy(signs)


def start_codebooks(network: Any, low: torch.Tensor, spectrum: torch.Tensor) -> None:
    """Fit both branches' codebooks, in ORDER, to latents [N, LOW] and [M, HIGH] of frames."""
    places = {"L": slice(0, LOW), "H": slice(LOW, LOW + HIGH)}
    for quantizer, _, before in branches(network):
        order = ORDER[:1] if before == 0 else ORDER[1:]
        size = quantizer.layers[0].codebook.codebook_size
        fitted = {
            "L": iter(fit_codebooks(low, order.count("L"), size, relative=True)),
            "H": iter(fit_codebooks(spectrum, order.count("H"), size, relative=False)),
        }
        for layer, part in zip(quantizer.layers, order, strict=False):  # the encoder has one that is not valid
            set_codebook(layer, places[part], next(fitted[part]))


def hold(network: Any) -> None:
    """What training leaves as it was fitted: encoder and codebooks, constants, the low band's way out."""
    for fixed in (network.encoder, network.decoder.quantizer):
        fixed.requires_grad_(False)
    hold_constants(network.decoder)
    hold_low_voice(network.decoder.decoder, firsts())
