"""The streaming resampler gives upstream's bits, whatever the rate, the length, the cuts and where it begins."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.audio.resample
from actors.contract import output_length
from pipeline.audio.resample import (
    _PERIODS,
    AT_ONCE,
    WARM_UP,
    mono,
    period,
    resample,
    resample_from,
    start_before,
)

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.audio.resample, "AT_ONCE", samples // 2)  # longer than that: a stream
        blocks = iter([wave[: samples // 3], wave[samples // 3 :]])
        np.testing.assert_array_equal(joined(resample(blocks, rate)), expected)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.one_of(st.sampled_from(RATES), st.integers(4_000, 192_000)),
    samples=st.integers(1, 30_000),
    channels=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 30_000), max_size=30),
    at_once=st.sampled_from([0, 3_000, AT_ONCE]),
)
def test_cuts_change_nothing(rate: int, samples: int, channels: int, cuts: list[int], at_once: int) -> None:
    wave = noise(samples, channels, seed=rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.audio.resample, "AT_ONCE", at_once)
        resampled = joined(resample(cut_at(wave, cuts), rate))
    np.testing.assert_array_equal(resampled, upstream(wave, rate))


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


@pytest.mark.parametrize("channels", range(1, 17))
@pytest.mark.parametrize("order", ["C", "F"])
def test_mono_is_the_mean_to_the_bit(channels: int, order: Literal["C", "F"]) -> None:
    random = np.random.default_rng(channels)
    wave = random.standard_normal((5_000, channels)) * 10.0 ** random.integers(-44, 5, (5_000, 1))  # denormal ones too
    wave[random.random(wave.shape) < 0.2] = -0.0
    wave[::7] = -0.0
    block = np.asarray(wave, np.float32, order)
    expected = block[:, 0] if channels == 1 else np.mean(np.ascontiguousarray(block), axis=1)  # as librosa has it
    assert mono(block).tobytes() == expected.tobytes()


@given(samples=st.integers(0, 20_000_000_000), rate=st.integers(4_000, 192_000))
def test_output_length_is_the_ceiling_or_one_more(samples: int, rate: int) -> None:
    exact = -(-samples * 24_000 // rate)
    assert output_length(samples, rate) - exact in (0, 1)
    if output_length(samples, rate) != exact:  # only where the exact product is whole, and doubles lie above it
        assert Fraction(samples * 24_000, rate) == exact


INSIDE = [
    8_000,
    11_025,
    12_000,
    16_000,
    22_050,
    24_000,
    32_000,
    44_100,
    48_000,
    64_000,
    88_200,
    96_000,
    176_400,
    192_000,
]
"""Rates of recordings that several workers can share."""


def inside(wave: np.ndarray, rate: int, sample: int) -> np.ndarray:
    """Resampled from 24 kHz sample `sample` on, in blocks, as a worker does that begins inside."""
    start = start_before(sample, rate)
    blocks = (wave[begin : begin + 50_021] for begin in range(start, len(wave), 50_021))
    return joined(resample_from(blocks, rate, sample))


@pytest.mark.parametrize("rate", INSIDE)
@pytest.mark.parametrize("odd", [0, 1, 2, 3])
def test_begun_inside_equals_the_whole_bit_for_bit(rate: int, odd: int) -> None:
    step = period(rate)
    assert step is not None
    wave = noise(3 * max(step, rate) + 3 * rate + odd, seed=rate)
    whole = joined(resample(iter([wave]), rate))
    assert start_before(len(whole) - 1, rate) >= 3 * step // 2  # more than once round, where it matters
    random = np.random.default_rng(odd)
    cuts = [*random.integers(0, len(whole), 3), 1_920 * random.integers(0, len(whole) // 1_920), len(whole) - 1]
    for sample in map(int, cuts):
        np.testing.assert_array_equal(inside(wave, rate, sample), whole[sample:])


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000]),
    seconds=st.floats(0.001, 8),
    part=st.floats(0, 1),
    channels=st.integers(1, 3),
)
def test_begun_anywhere_equals_the_whole(rate: int, seconds: float, part: float, channels: int) -> None:
    wave = noise(max(1, round(seconds * rate)), channels, seed=rate)
    whole = joined(resample(iter([wave]), rate))
    sample = int(part * (len(whole) - 1))
    np.testing.assert_array_equal(inside(wave, rate, sample), whole[sample:])


@pytest.mark.parametrize("rate", INSIDE)
@given(sample=st.integers(0, 20_000_000_000))
def test_starts_lie_in_time_and_on_the_grid(rate: int, sample: int) -> None:
    start, step = start_before(sample, rate), period(rate)
    assert step is not None
    assert start % step == 0
    assert start * 24_000 % rate == 0
    output = start * 24_000 // rate
    assert output == 0 or rate == 24_000 or output <= sample - WARM_UP
    assert output + WARM_UP + step * 24_000 // rate + 1 >= sample


@pytest.mark.parametrize("rate", [4_000, 23_999, 24_001, 37_800])
def test_a_rate_of_unknown_period_is_read_from_its_beginning(rate: int) -> None:
    assert period(rate) is None
    assert start_before(10**9, rate) == 0
    wave = noise(3 * rate)
    np.testing.assert_array_equal(inside(wave, rate, 50_000), joined(resample(iter([wave]), rate))[50_000:])


def test_a_period_of_another_soxr_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this soxr's blocks were one sample longer than those that were measured."""
    monkeypatch.setitem(_PERIODS, 48_000, 1_662)
    period.cache_clear()
    try:
        assert period(48_000) is None
    finally:
        period.cache_clear()
