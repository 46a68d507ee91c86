"""Which lengths are wanted: bounds are included, to the sample; what is too long is not decoded to its end."""

from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.audio.length import Lengths
from pipeline.errors import Skipped


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [(0.0, False), (0.4999, False), (0.5, True), (0.7 - 0.2, True), (2.0, True), (2.0001, False), (1e9, False)],
)
def test_bounds(seconds: float, kept: bool) -> None:
    lengths = Lengths(0.5, 2.0)
    assert lengths.outside(np.array([seconds])).tolist() == [not kept]
    if kept:
        lengths.check(seconds, "a")
    else:
        with pytest.raises(Skipped, match="a: it lasts"):
            lengths.check(seconds, "a")


def test_any_length() -> None:
    for seconds in (0.0, 1e-9, 1e9):
        Lengths().check(seconds, "a")
    assert not Lengths().outside(np.array([0.0, 1e9, np.nan])).any()


def test_too_long_is_known_at_once() -> None:
    read: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(100):
            read.append(number)
            yield np.zeros((16_000, 1), np.float32)

    checked = Lengths(None, 3.0).checked(blocks(), 16_000, "a")
    assert len([next(checked) for _ in range(3)]) == 3
    with pytest.raises(Skipped, match=r"lasts 4.000 s or more, more than input.max_s = 3"):
        next(checked)
    assert len(read) == 4


def test_too_short_is_known_at_the_end() -> None:
    checked = Lengths(2.0, None).checked(iter([np.zeros((24_000, 2), np.float32)]), 24_000, "a")
    next(checked)
    with pytest.raises(Skipped, match=r"lasts 1.000 s, less than input.min_s = 2"):
        next(checked)
