"""The contract of Codec: what it gives back, what it depends on and what not, what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from actors.codec import Codec
from actors.qwen import load_upstream
from pipeline.schema import FRAME_SAMPLES, frame_count

EDGES = (0, 1, 1919, 1920, 1921, 3 * 1920)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """float32 [T]: noise whose level wanders, at speech's levels."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(samples // 4800 + 1), 4800)[:samples]
    return (0.3 * level * rng.standard_normal(samples)).astype(np.float32)


def padded(wave: np.ndarray) -> np.ndarray:
    return np.pad(wave, (0, -len(wave) % FRAME_SAMPLES))


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu")


@pytest.fixture(scope="module")
def batching(small_model: Path) -> Codec:
    """The way of a GPU, on the CPU: static batches of tiles with halos."""
    return Codec.load(str(small_model), device="cpu", tile_s=0.96, tile_batch=3)


@pytest.fixture(scope="module")
def upstream_codes(small_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    tokenizer = load_upstream(str(small_model))
    return lambda wave: tokenizer.encode([padded(wave)], sr=24_000).audio_codes[0].numpy()


@pytest.fixture(scope="module")
def upstream_wave(small_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    tokenizer = load_upstream(str(small_model))
    return lambda codes: tokenizer.decode([{"audio_codes": codes.astype(np.int64)}])[0][0]


def decibels(wave: np.ndarray, reference: np.ndarray) -> float:
    """Signal to error ratio."""
    error = float(np.square(wave - reference, dtype=np.float64).sum())
    return 10 * np.log10(np.square(reference, dtype=np.float64).sum() / max(error, 1e-30))


@pytest.mark.parametrize("samples", EDGES)
def test_lengths_and_types(codec: Codec, samples: int) -> None:
    (codes,) = codec.encode([noise(samples)])
    assert codes.shape == (frame_count(samples), 16)
    assert codes.dtype == np.int16
    (wave,) = codec.decode([codes])
    assert wave.shape == (frame_count(samples) * FRAME_SAMPLES,)
    assert wave.dtype == np.float32


@pytest.mark.parametrize("samples", [*EDGES[1:], 24_000, 200_001])
@pytest.mark.parametrize("way", ["codec", "batching"])
def test_codes_are_upstreams_of_the_padded_clip(
    request: pytest.FixtureRequest, upstream_codes: Callable[[np.ndarray], np.ndarray], way: str, samples: int
) -> None:
    wave = noise(samples, seed=samples)
    (codes,) = request.getfixturevalue(way).encode([wave])
    same = codes == upstream_codes(wave)
    assert same.mean() >= 0.999
    assert same[:, 0].all()


@pytest.mark.parametrize("frames", [1, 26, 130])
@pytest.mark.parametrize("way", ["codec", "batching"])
def test_waves_are_upstreams_up_to_300_frames(
    request: pytest.FixtureRequest, upstream_wave: Callable[[np.ndarray], np.ndarray], way: str, frames: int
) -> None:
    codec = request.getfixturevalue(way)
    codes = np.random.default_rng(frames).integers(0, codec.codebook_size, (frames, 16), np.int16)
    (wave,) = codec.decode([codes])
    assert decibels(wave, upstream_wave(codes)) >= 90
