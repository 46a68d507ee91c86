"""The low band's wave goes into the encoder's channels and comes out of the waveform stack as it is."""

import pytest
import torch

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from actors.demo.filter_bank import filter_bank
from actors.demo.fit_network import hold
from actors.demo.lowband import CHANNELS, low_frames, lowpass, pass_low_band
from actors.demo.lowvoice import NUMBERS, STEP, amplitudes
from actors.demo.network import build_network, waveform
from actors.demo.start_encoder import find_low_basis
from actors.demo.vocoder import firsts, set_bank

FRAMES = 40


def chord(pitches: tuple[float, ...], seed: int = 0) -> torch.Tensor:
    """Tones of slowly changing strength, [1, T]."""
    torch.manual_seed(seed)
    t = torch.arange(FRAMES * FRAME_SAMPLES) / SAMPLE_RATE
    tones = [
        (1 + torch.sin(6 * t + i)) * torch.sin(2 * torch.pi * (f * t + torch.rand(1))) for i, f in enumerate(pitches)
    ]
    return 0.03 * torch.stack(tones).sum(0)[None]


def snr_db(output: torch.Tensor, target: torch.Tensor) -> float:
    return float(10 * torch.log10(target.square().mean() / (output - target).square().mean()))


@pytest.mark.parametrize(("hertz", "share"), [(100, 1), (440, 1), (610, 0), (3000, 0)])
def test_lowpass_has_no_delay(hertz: float, share: float) -> None:
    wave = chord((hertz,))
    inside = slice(SAMPLE_RATE // 2, -SAMPLE_RATE // 2)
    torch.testing.assert_close(lowpass(wave)[:, inside], share * wave[:, inside], atol=1e-3, rtol=0)


def test_encoder_channels_hold_the_low_band_and_nothing_else() -> None:
    """48 numbers each 40 ms, mapped linearly, are the wave; a tone of 3 kHz hardly moves them."""
    layers = build_network(0).encoder.encoder.layers
    voices = [chord((103 + i, 211, 307, 415 - i), seed=i) for i in range(20)]
    with torch.no_grad():
        filter_bank(layers)
        pass_low_band(layers)
        hidden = torch.cat([*voices, chord((3000,))])[:, None]
        for layer in layers[:-1]:
            hidden = layer(hidden)
    numbers = hidden[:, list(CHANNELS[-1])].transpose(1, 2)
    assert numbers[-1].square().mean() < 1e-3 * numbers[:-1].square().mean()
    blocks = torch.cat(voices)[:, ::10].reshape(20, 2 * FRAMES, -1)
    seen, wanted = numbers[:-1, 2:].flatten(0, 1).double(), blocks[:, 2:].flatten(0, 1).double()
    answer = torch.linalg.lstsq(seen, wanted).solution
    assert snr_db(seen @ answer, wanted) > 20


def test_stack_sounds_the_amplitudes_of_the_low_band() -> None:
    decoder = build_network(0).decoder
    set_bank(decoder)
    wave = chord((90, 183, 271, 420))
    first = firsts()[0]
    found = amplitudes(decoder.decoder, first, wave)
    assert found.shape == (1, FRAMES * FRAME_SAMPLES // STEP, NUMBERS)
    features = torch.zeros(1, 192, found.shape[1])
    features[:, first : first + NUMBERS] = found.transpose(1, 2)
    with torch.no_grad():
        output = waveform(decoder.decoder[1:], features)
    assert snr_db(lowpass(output), lowpass(wave)) > 20


def test_training_leaves_the_low_bands_way_out_alone() -> None:
    network = build_network(0)
    set_bank(network.decoder)
    hold(network)
    stack = network.decoder.decoder
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
    before = [parameter.clone() for parameter in stack.parameters()]
    bank = torch.rand(1, 192, 8)
    bank[:, firsts()[0] :] = 0
    waveform(stack[1:], bank).square().mean().backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, stack.parameters(), strict=True))
    mixer = stack[1].block[1].conv.weight
    low = slice(firsts()[1], firsts()[1] + 6)
    assert torch.equal(mixer[:, low], before[[p is mixer for p in stack.parameters()].index(True)][:, low])


def test_components_keep_the_frames() -> None:
    wave = chord((100, 200, 300))
    frames = low_frames(wave)
    found = find_low_basis(frames).project(frames)
    assert found.shape == (FRAMES, 80)
    assert float(found.square().mean()) == pytest.approx(1, rel=1e-3)
    energy = lowpass(wave).reshape(FRAMES, -1).square().sum(1)
    assert torch.corrcoef(torch.stack([found.square().sum(1), energy]))[0, 1] > 0.999
