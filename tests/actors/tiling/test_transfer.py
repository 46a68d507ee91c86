"""Waves -> rows of whole frames."""

import numpy as np
import pytest
import torch

from actors.contract import FRAME_SAMPLES
from actors.errors import NonFiniteAudio
from actors.tiling.run_tiles import Way
from actors.tiling.transfer import WaveRows
from tests.helpers.signals import noise, padded

ON_CPU = Way(torch.device("cpu"), torch.float32, 1, 1)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 0, 1, 2]])
@pytest.mark.parametrize("spans", [[(0, 7)], [(0, 1), (1, 2), (2, 7)], [(3, 5), (6, 7)]])
def test_rows_are_the_padded_waves(
    monkeypatch: pytest.MonkeyPatch, spans: list[tuple[int, int]], order: list[int]
) -> None:
    waves = [noise(samples, samples) for samples in (1, 0, 2 * FRAME_SAMPLES, 3 * FRAME_SAMPLES + 5, 0)]
    expected = np.concatenate([padded(waves[number]) for number in order]).reshape(-1, FRAME_SAMPLES)
    load = WaveRows(waves, order, ON_CPU)
    monkeypatch.setattr(
        torch, "empty", lambda *shape, **how: torch.full(shape, torch.nan, **how)
    )  # buffers are used again
    for (low, high), rows in zip(spans, load(spans), strict=True):
        assert np.array_equal(rows.numpy(), expected[low:high])
    load.refuse_non_finite()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_wave_that_is_not_finite_is_named_by_its_number_in_the_call(bad: float) -> None:
    waves = [noise(5_000), noise(10), np.full(10, bad, np.float32)]
    load = WaveRows(waves, [1, 2, 0], ON_CPU)
    assert len(list(load([(0, 1), (1, 2), (2, 5)]))) == 3
    with pytest.raises(NonFiniteAudio, match="wave 2 holds NaN"):
        load.refuse_non_finite()


def test_what_nobody_hears_is_zero_on_a_cpu() -> None:
    wave = np.array([1e-42, -1e-38, 1e-31, 1e-29, -0.5, 0.0], np.float32)
    (rows,) = WaveRows([wave], [0], ON_CPU)([(0, 1)])
    assert np.array_equal(rows.numpy()[0, :6], np.array([0, 0, 0, 1e-29, -0.5, 0], np.float32))
