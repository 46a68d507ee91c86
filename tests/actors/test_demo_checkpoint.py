"""The bundled checkpoint is speech in, speech out, by upstream's own class."""

from typing import Any

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from actors.checkpoint import DEMO_FOLDER
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE
from actors.demo.quality import decode, encode, first_codebooks, like_noise
from actors.measures import distance, intelligibility
from actors.qwen import load_upstream
from pipeline.cli.demo import CLIPS

NAMES = ("en/frames.wav", "en/counted.flac", "de/zeichen.flac")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_upstream("demo")


@pytest.fixture(scope="module", params=NAMES)
def wave(request: pytest.FixtureRequest) -> np.ndarray:
    """A bundled clip, float32 [T] at 24 kHz."""
    return librosa.load(CLIPS / request.param, sr=SAMPLE_RATE, mono=True)[0]


def test_folder_fits_the_package() -> None:
    sizes = {path.name: path.stat().st_size for path in DEMO_FOLDER.iterdir()}
    assert {"config.json", "preprocessor_config.json", "model.safetensors", "README.md", "spectrogram.png"} <= set(
        sizes
    )
    assert sum(sizes.values()) <= 12_000_000


def test_weights_are_half_precision() -> None:
    tensors = load_file(DEMO_FOLDER / "model.safetensors")
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float16, name
        assert tensor.isfinite().all(), name


def test_both_halves_hold_the_same_codebooks(tokenizer: Any) -> None:
    encoder, decoder = tokenizer.model.encoder.quantizer, tokenizer.model.decoder.quantizer
    pairs = [
        *zip(encoder.semantic_residual_vector_quantizer.layers, decoder.rvq_first.vq.layers, strict=True),
        *zip(encoder.acoustic_residual_vector_quantizer.layers, decoder.rvq_rest.vq.layers, strict=False),
    ]
    assert len(pairs) == NUM_CODEBOOKS
    for ours, theirs in pairs:
        every_code = torch.arange(ours.codebook.codebook_size)
        assert torch.equal(ours.codebook.decode(every_code), theirs._codebook.decode(every_code))


def test_encoder_has_more_quantizers_than_are_valid(tokenizer: Any) -> None:
    assert tokenizer.model.config.encoder_valid_num_quantizers == NUM_CODEBOOKS
    assert tokenizer.model.encoder.config.num_quantizers > NUM_CODEBOOKS
    codes = encode(tokenizer, like_noise(np.ones(5 * FRAME_SAMPLES, np.float32)))
    assert codes.shape == (5, NUM_CODEBOOKS)


def test_gives_speech_back(tokenizer: Any, wave: np.ndarray) -> None:
    output = decode(tokenizer, encode(tokenizer, wave), len(wave))
    assert np.isfinite(output).all()
    assert 0.3 < output.std() / wave.std() < 2
    ours = distance(output, wave)
    assert ours < 0.5 * distance(np.zeros_like(wave), wave)
    assert ours < 0.5 * distance(like_noise(wave), wave)
    assert intelligibility(output, wave) > intelligibility(like_noise(wave), wave) + 0.3


def test_the_codes_carry_the_content(tokenizer: Any, wave: np.ndarray) -> None:
    codes = encode(tokenizer, wave)
    right = distance(decode(tokenizer, codes, len(wave)), wave)
    another_order = decode(tokenizer, codes[:, torch.arange(NUM_CODEBOOKS).roll(5)], len(wave))
    another_time = decode(tokenizer, codes.flip(0), len(wave))
    assert distance(another_order, wave) > 1.5 * right
    assert distance(another_time, wave) > 1.5 * right


def test_more_codebooks_are_better(tokenizer: Any) -> None:
    wave = librosa.load(CLIPS / NAMES[0], sr=SAMPLE_RATE, mono=True)[0]
    codes = encode(tokenizer, wave)
    distances = [distance(decode(first_codebooks(tokenizer, n), codes, len(wave)), wave) for n in (1, 4, 16)]
    assert distances == sorted(distances, reverse=True)
