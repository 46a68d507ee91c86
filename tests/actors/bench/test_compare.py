"""Shares of equal codes and decibels."""

import numpy as np
import pytest

from actors.bench.compare import equality, first_seconds, seconds_of


def test_equality_of_codes_and_of_waves() -> None:
    truth = np.zeros((4, 16), np.int16)
    found = truth.copy()
    found[0, :2] = 1
    assert equality("encode", [found[:1], found[1:]], [truth]) == {"equal": 62 / 64, "equal_first": 0.75}
    wave = np.ones(100, np.float32)
    assert equality("decode", [wave * 1.01], [wave])["decibels"] == pytest.approx(40, abs=0.01)


def test_the_first_seconds() -> None:
    codes = [np.zeros((frames, 16)) for frames in (100, 100, 100)]
    assert len(first_seconds(codes, 1)) == 1
    assert len(first_seconds(codes, 8.5)) == 2
    assert len(first_seconds(codes, 999)) == 3


def test_seconds_of_waves_and_of_codes() -> None:
    assert seconds_of("encode", [np.zeros(24_000), np.zeros(12_000)]) == 1.5
    assert seconds_of("decode", [np.zeros((25, 16))]) == 2
