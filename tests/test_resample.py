"""The streaming resampler gives upstream's bits, whatever the rate, the length and the cuts."""

import itertools
from collections.abc import Iterator
from fractions import Fraction

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.resample import mono, output_length, resample

RATES = [
    4_000,
    8_000,
    11_025,
    12_000,
    16_000,
    22_050,
    23_999,
    24_000,
    24_001,
    32_000,
    37_800,
    44_100,
    48_000,
    96_000,
    192_000,
]


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, channels)).astype(np.float32)


def upstream(wave: np.ndarray, rate: int) -> np.ndarray:
    """What upstream's loader makes of float32 [n, channels]."""
    mean = librosa.to_mono(wave.T)  # soundfile's array is transposed before the mean: the same strides here
    return librosa.resample(mean, orig_sr=rate, target_sr=24_000, res_type="soxr_hq")


def cut_at(wave: np.ndarray, cuts: list[int]) -> Iterator[np.ndarray]:
    edges = [0, *sorted(cut % (len(wave) + 1) for cut in cuts), len(wave)]
    for begin, end in itertools.pairwise(edges):
        yield wave[begin:end]


def joined(blocks: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *blocks])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [1, 2, 3, 7, 100, 1_919, 1_920, 1_921, 44_100, 100_003])
def test_equals_librosa_bit_for_bit(rate: int, samples: int) -> None:
    wave = noise(samples)
    expected = upstream(wave, rate)
    whole = joined(resample(iter([wave]), rate))
    assert whole.dtype == np.float32
    assert len(whole) == output_length(samples, rate)
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(joined(resample(iter([wave[: samples // 3], wave[samples // 3 :]]), rate)), expected)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.one_of(st.sampled_from(RATES), st.integers(4_000, 192_000)),
    samples=st.integers(1, 30_000),
    channels=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 30_000), max_size=30),
)
def test_cuts_change_nothing(rate: int, samples: int, channels: int, cuts: list[int]) -> None:
    wave = noise(samples, channels, seed=rate)
    np.testing.assert_array_equal(joined(resample(cut_at(wave, cuts), rate)), upstream(wave, rate))


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_single_samples(rate: int) -> None:
    wave = noise(3_000, 2)
    np.testing.assert_array_equal(joined(resample(cut_at(wave, list(range(3_000))), rate)), upstream(wave, rate))


@pytest.mark.parametrize("rate", RATES)
def test_minutes_equal_librosa(rate: int) -> None:
    wave = noise(61 * rate + 17 if rate <= 48_000 else 20 * rate)
    blocks = (wave[begin : begin + 2**17] for begin in range(0, len(wave), 2**17))
    np.testing.assert_array_equal(joined(resample(blocks, rate)), upstream(wave, rate))


@pytest.mark.parametrize("rate", RATES)
def test_nothing_stays_nothing(rate: int) -> None:
    assert list(resample(iter([]), rate)) == []
    assert list(resample(iter([np.empty((0, 2), np.float32)]), rate)) == []


def test_24_khz_is_untouched() -> None:
    wave = noise(5_000)
    np.testing.assert_array_equal(joined(resample(cut_at(wave, [7, 4_000]), 24_000)), wave[:, 0])


@pytest.mark.parametrize("channels", range(1, 20))
@pytest.mark.parametrize("samples", [1, 2, 5, 4_097])
def test_mono_is_librosas(samples: int, channels: int) -> None:
    wave = noise(samples, channels)
    np.testing.assert_array_equal(mono(wave), librosa.to_mono(wave.T))


@given(samples=st.integers(0, 20_000_000_000), rate=st.integers(4_000, 192_000))
def test_output_length_is_the_ceiling_or_one_more(samples: int, rate: int) -> None:
    exact = -(-samples * 24_000 // rate)
    assert output_length(samples, rate) - exact in (0, 1)
    if output_length(samples, rate) != exact:  # only where the exact product is whole, and doubles lie above it
        assert Fraction(samples * 24_000, rate) == exact
