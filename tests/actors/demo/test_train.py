"""The script that made the demo checkpoint: seeded, resumable, and what it exports loads by upstream's own class."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE
from actors.demo import codebooks, fit_network, start_encoder
from actors.demo import train as script
from actors.demo.codebooks import fit_codebooks, quantize, set_codebook
from actors.demo.filter_bank import BANDS, filter_bank
from actors.demo.losses import PATCH_BANDS, low_band_loss, patches
from actors.demo.network import HIGH, LOW, branches, build_network, decoder_latents, latents, waveform
from actors.demo.quality import codebook_use, decode, encode
from actors.demo.speech import draw_batch, read_speech
from actors.demo.vocoder import frequencies, set_bank, start_vocoder, tones, wanted
from actors.measures import log_mel_distance, si_sdr
from actors.qwen import load_upstream
from pipeline.errors import InputError


def tone(pitch: float, seconds: float = 2.0) -> np.ndarray:
    """A harmonic tone in syllables, float32 [T] at 24 kHz."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 12))
    return (0.05 * harmonics * (1 + np.sin(2 * np.pi * 4 * t))).astype(np.float32)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    for pitch in (90, 120, 150):
        soundfile.write(folder / f"{pitch}.wav", tone(pitch), SAMPLE_RATE)
    return folder


def train(speech: Path, out: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Run the script with small batches until `steps`; the log's rows."""
    for name in ("BATCHES", "TAUGHT_BATCHES", "SPECTRUM_BATCHES", "LOW_BATCHES"):
        monkeypatch.setattr(fit_network, name, 2)
    for name, value in {"CROP": (3, 8), "LOW_CROP": (3, 8)}.items():
        monkeypatch.setattr(fit_network, name, value)
    monkeypatch.setattr(start_encoder, "STEPS", 3)
    for name, value in {"CROP": (2, 4), "LOG_EVERY": 1}.items():
        monkeypatch.setattr(script, name, value)
    where = ["--speech", str(speech), "--out", str(out), "--device", "cpu", "--threads", "1", "--no-compile"]
    script.main([*where, "--minutes", "1000", "--steps", str(steps)])
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_resumes_where_it_stopped_and_exports(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(speech, tmp_path / "whole", 3, monkeypatch)
    train(speech, tmp_path / "pieces", 2, monkeypatch)
    pieces = train(speech, tmp_path / "pieces", 3, monkeypatch)
    assert [row["step"] for row in pieces] == ["1", "2", "3"]
    assert pieces[0]["loss"] == whole[0]["loss"]
    assert all(np.isfinite(float(row["loss"])) for row in pieces)
    tokenizer = load_upstream(str(tmp_path / "pieces" / "checkpoint"))
    wave = tone(120, 1.0)
    codes = encode(tokenizer, wave)
    assert codes.shape == (13, NUM_CODEBOOKS)
    assert np.isfinite(decode(tokenizer, codes, len(wave))).all()


def test_batches_depend_on_seed_and_step_only(speech: Path) -> None:
    clips, held_out = read_speech(speech)
    assert (len(clips), len(held_out)) == (2, 1)
    batch = draw_batch(clips, (3, 4), seed=0, step=5)
    assert batch.shape == (3, 4 * FRAME_SAMPLES)
    assert batch.abs().max() <= 0.95 + 1e-6
    assert torch.equal(batch, draw_batch(clips, (3, 4), seed=0, step=5))
    assert not torch.equal(batch, draw_batch(clips, (3, 4), seed=0, step=6))
    assert not torch.equal(batch, draw_batch(clips, (3, 4), seed=1, step=5))


def test_a_folder_without_speech_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 0"):
        read_speech(tmp_path)


def test_pieces_of_the_network_are_upstreams_forward() -> None:
    """Training runs what upstream's encode and decode run: same codes, same wave."""
    network = build_network(0).eval()
    network.decoder.decoder[-1].conv.weight.data.mul_(0.01)  # below the clamp
    wave = torch.from_numpy(tone(120, 1.0))[None, : 12 * FRAME_SAMPLES]
    with torch.no_grad():
        hidden = latents(network, wave)
        for ours, theirs, _ in branches(network):
            for layer in ours.layers:
                layer.codebook.embed_sum.normal_(std=0.3)
            for mine, other in zip(ours.layers, theirs.vq.layers, strict=False):
                other._codebook.embedding_sum.copy_(mine.codebook.embed_sum)
                other._codebook.cluster_usage.copy_(mine.codebook.cluster_usage)
        features = decoder_latents(network, hidden, torch.tensor([NUM_CODEBOOKS]))
        codes = network.encode(wave, torch.ones_like(wave, dtype=torch.long)).audio_codes[0]
        upstream = network.decode(codes[None]).audio_values[0]
    torch.testing.assert_close(waveform(network.decoder.decoder, features)[0].clamp(-1, 1), upstream, atol=1e-3, rtol=0)


def test_quantize_hears_the_first_codebooks_only() -> None:
    network = build_network(0)
    quantizer = network.encoder.quantizer.acoustic_residual_vector_quantizer
    latent = torch.randn(2, LOW + HIGH, 40)
    fitted = fit_codebooks(latent.transpose(1, 2).flatten(0, 1), 2, 512, relative=True)
    for layer, entries in zip(quantizer.layers, fitted, strict=False):
        set_codebook(layer, slice(None), entries)
    none, every = quantize(quantizer, latent, torch.tensor([0, 15]))
    assert torch.equal(none, torch.zeros_like(none))
    assert (every - latent[1]).square().mean() < 0.1 * latent[1].square().mean()


def test_codebooks_speak_of_their_parts_and_can_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebooks, "ROUNDS", 3)
    network = build_network(0)
    low, spectrum = torch.randn(3000, LOW), torch.randn(3000, HIGH)
    fit_network.start_codebooks(network, low, spectrum)
    (semantic, _, _), (acoustic, _, _) = branches(network)
    layers = [semantic.layers[0], *acoustic.layers[:15]]
    for layer, part in zip(layers, fit_network.ORDER, strict=True):
        entries = layer.codebook.embed
        assert not entries[0].any()
        assert entries[:, :LOW].any() == (part == "L")
        assert entries[:, LOW:].any() == (part == "H")
    latent = torch.cat([low, spectrum], 1).T[None]
    errors = [(quantize(acoustic, latent, torch.tensor([n])) - latent)[:, :LOW].square().mean() for n in (0, 1, 3, 15)]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert torch.equal(quantize(acoustic, torch.zeros_like(latent), torch.tensor([15])), torch.zeros_like(latent))


def test_many_rows_are_seen_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that see some of the rows, and last ones that see all, find the groups that the rows are in."""
    torch.manual_seed(0)
    monkeypatch.setattr(codebooks, "ROUND_ROWS", 200)
    groups = torch.randn(7, 4) * 3
    rows = groups.repeat(100, 1) + 0.05 * torch.randn(700, 4)
    (entries,) = fit_codebooks(rows, 1, 128, relative=False)
    assert torch.cdist(groups, entries).min(1).values.max() < 0.1


def test_the_filter_bank_tells_bands_and_levels_apart() -> None:
    """Before the last convolution: a louder tone bends its band's levels more, another pitch bends others."""
    network = build_network(0)
    layers = network.encoder.encoder.layers
    t = torch.arange(4 * FRAME_SAMPLES) / SAMPLE_RATE
    waves = [level * torch.sin(2 * torch.pi * hertz * t) for hertz in (700, 3000) for level in (0.001, 0.1)]
    with torch.no_grad():
        filter_bank(layers)
        hidden = torch.stack(waves)[:, None]
        for layer in layers[:-1]:
            hidden = layer(hidden)
    levels = (
        -hidden[:, : 8 * len(BANDS), 4:].mean(-1).reshape(4, 2, len(BANDS), 4)
    )  # [wave, gain, band, half and squash]
    low_quiet, low_loud, high_quiet, high_loud = levels.mean((1, 3))
    near, far = (min(range(len(BANDS)), key=lambda i: abs(BANDS[i] - hertz)) for hertz in (700, 3000))
    assert low_loud[near] > low_quiet[near] + 0.2
    assert high_loud[far] > high_quiet[far] + 0.2
    assert low_quiet[near] > high_quiet[near] + 0.1
    assert high_quiet[far] > low_quiet[far] + 0.1


def test_distances() -> None:
    wave = tone(120)
    here, there = (torch.from_numpy(x)[None] for x in (wave, np.roll(wave, SAMPLE_RATE // 8)))
    assert log_mel_distance(here, here) == 0
    assert 0 < log_mel_distance(here, there) < log_mel_distance(here, torch.zeros_like(here))
    assert low_band_loss(here, here) == 0
    assert low_band_loss(torch.zeros_like(here), here) == 1
    assert patches(here[:, : 4 * FRAME_SAMPLES], steps=16).shape == (1, 16, 2 * PATCH_BANDS)
    assert si_sdr(2 * wave + 1e-6, wave) > 60
    noise = np.random.default_rng(0).normal(0, wave.std(), len(wave))
    assert abs(si_sdr(wave + noise, wave)) < 0.5
    assert codebook_use([torch.arange(4)[:, None].repeat(1, 16)], size=8) == [0.5] * 16


def test_bank_of_tones_sounds_the_amplitudes_it_is_given() -> None:
    """The stack before any training: a tone that begins at 0.3 s comes out at its pitch, its level and its time."""
    network = build_network(0)
    t = torch.arange(8 * FRAME_SAMPLES) / SAMPLE_RATE
    wave = (0.1 * torch.sin(2 * torch.pi * 1050 * t) * (t > 0.3))[None]
    features = torch.randn(1, 192, 32)
    set_bank(network.decoder)
    start_vocoder(network.decoder, features, wave)
    first = network.decoder.decoder[0].conv
    with torch.no_grad():  # in place of the fit: latents that are the wanted amplitudes
        nn.init.zeros_(first.weight)
        nn.init.zeros_(first.bias)
        first.weight[range(130), range(130), -1] = 1
        features[:, :130] = wanted(wave)
        output = waveform(network.decoder.decoder, features)[0]
    early, late = output[: int(0.27 * SAMPLE_RATE)], output[int(0.33 * SAMPLE_RATE) :]
    assert early.std() < 0.05 * late.std()
    assert 0.25 < late.std() / wave[0, int(0.33 * SAMPLE_RATE) :].std() < 3
    spectrum = torch.fft.rfft(late * torch.hann_window(len(late))).abs()
    assert abs(float(spectrum.argmax()) * SAMPLE_RATE / len(late) - 1050) < 60


def test_tones_are_split_into_multiples_of_the_rates_that_come_in() -> None:
    assert len(tones()) == 130
    assert len(set(frequencies())) == 129  # 4 kHz is in both bands
    assert all(600 <= f < 8000 and f % 50 == 0 for f in frequencies())
