"""Waves -> rows of whole frames."""

import numpy as np
import pytest
import torch

from actors.contract import FRAME_SAMPLES, frame_count
from actors.tiling.run_tiles import Way
from actors.tiling.transfer import audio_rows
from tests.helpers.signals import noise, padded


@pytest.mark.parametrize("spans", [[(0, 7)], [(0, 1), (1, 2), (2, 7)], [(3, 5), (6, 7)]])
def test_rows_are_the_padded_waves(monkeypatch: pytest.MonkeyPatch, spans: list[tuple[int, int]]) -> None:
    waves = [noise(samples, samples) for samples in (1, 0, 2 * FRAME_SAMPLES, 3 * FRAME_SAMPLES + 5, 0)]
    expected = np.concatenate([padded(wave) for wave in waves]).reshape(-1, FRAME_SAMPLES)
    load = audio_rows(waves, [frame_count(len(wave)) for wave in waves], Way(torch.device("cpu"), torch.float32, 1, 1))
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))  # buffers are used again
    for (low, high), rows in zip(spans, load(spans), strict=True):
        assert np.array_equal(rows.numpy(), expected[low:high])
