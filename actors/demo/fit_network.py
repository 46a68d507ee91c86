"""A fresh network and clips of speech -> the same network, every layer fitted from the wave to the wave; it speaks."""

from typing import Any

import numpy as np
import torch
from torch import nn

from actors.contract import NUM_CODEBOOKS
from actors.demo.codebooks import start_codebooks
from actors.demo.lowvoice import hold_low_voice
from actors.demo.network import HIGH, LOW, branches, decoder_latents, dequantized, latents
from actors.demo.speech import draw_batch
from actors.demo.start_decoder import hold_constants, start_decoder, start_projections
from actors.demo.start_encoder import bank_levels, encoder_latents, frame_patches, start_encoder, teach_encoder
from actors.demo.vocoder import firsts, set_bank, start_vocoder

BATCHES, CROP = 100, (4, 20)
"""Batches that layers are fitted to, and their (clips, codec frames)."""
MANY_BATCHES = 330
"""Batches that the encoder is taught and codebooks are fitted to: fewer would suit the training's voices alone."""
_LOW, _HIGH = (slice(0, LOW), True), (slice(LOW, LOW + HIGH), False)
PARTS = (_HIGH, _LOW, _HIGH, _LOW, _HIGH, _LOW, _LOW, _HIGH, _LOW, _HIGH, _LOW, _LOW, _HIGH, _LOW, _HIGH, _LOW)
"""What each codebook quantizes: nine the low band's wave, seven the spectrum above. The first is the semantic one."""


@torch.no_grad()
def fit_network(network: Any, head: nn.Linear, clips: list[np.ndarray], seed: int) -> None:
    """Fit every layer to the latents and spectra of some batches of `clips`, float32 [T] at 24 kHz each."""
    device, training = head.weight.device, network.training
    network.eval()
    batches = [draw_batch(clips, CROP, seed + 1, i).to(device) for i in range(BATCHES)]
    basis = start_encoder(network, batches)
    levels, targets = [], []
    for index in range(MANY_BATCHES):
        wave = draw_batch(clips, CROP, seed + 2, index).to(device)
        levels.append(bank_levels(network, wave).half())
        targets.append(basis.project(frame_patches(wave, CROP[1])).reshape(len(wave), CROP[1], HIGH))
    with torch.enable_grad():
        teach_encoder(network, torch.cat(levels), torch.cat(targets))
    hidden = torch.cat([encoder_latents(network, some.float()) for some in levels])
    for quantizer, _, before in branches(network):
        projected = quantizer.input_proj(hidden).transpose(1, 2).flatten(0, 1)
        start_codebooks(quantizer, projected, PARTS[:1] if before == 0 else PARTS[1:])
    start_projections(network)
    set_bank(network.decoder)
    waves = torch.cat(batches)
    hidden = torch.cat([latents(network, wave) for wave in batches])
    used = torch.full((len(hidden),), NUM_CODEBOOKS, device=device)
    start_decoder(network, head, dequantized(network, hidden, used), waves)
    start_vocoder(network.decoder, decoder_latents(network, hidden, used), waves)
    network.train(training)


def hold(network: Any) -> None:
    """What training leaves as it was fitted: encoder and codebooks, constants, the low band's way out."""
    for fixed in (network.encoder, network.decoder.quantizer):
        fixed.requires_grad_(False)
    hold_constants(network.decoder)
    hold_low_voice(network.decoder.decoder, firsts())
