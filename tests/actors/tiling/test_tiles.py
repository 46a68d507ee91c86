"""Cutting, joining and reach: pure arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from actors.tiling.tiles import Reach, batches, cut, left_reach, offsets, rows_of_tiles, whole

LENGTHS = st.lists(st.integers(0, 40), max_size=6)
CONVS = st.builds(Reach, kernel=st.integers(1, 7), stride=st.just(1), dilation=st.integers(1, 3))
DOWNS = st.builds(lambda s, n: Reach(s * n, s), st.integers(2, 4), st.integers(1, 2))
UPS = st.builds(lambda s, n: Reach(s * n, s, up=True), st.integers(2, 4), st.integers(1, 2))


@given(LENGTHS, st.integers(1, 9), st.integers(0, 9))
def test_tiles_write_every_frame_once_in_order(frames: list[int], tile: int, halo: int) -> None:
    tiles = cut(frames, tile, halo)
    written = [(t.recording, frame) for t in tiles for frame in range(t.keep, t.stop)]
    assert written == [(index, frame) for index, length in enumerate(frames) for frame in range(length)]


@given(LENGTHS, st.integers(1, 9), st.integers(0, 9))
def test_tiles_read_their_halo_and_fit_one_shape(frames: list[int], tile: int, halo: int) -> None:
    for t in cut(frames, tile, halo):
        assert t.start == 0 or t.keep - t.start == halo
        assert t.stop - t.start <= halo + tile
        assert t.stop == frames[t.recording] or t.stop - t.start == halo + tile


def test_rows_of_tiles_that_end_early_in_a_batch_that_is_not_full() -> None:
    tiles = cut([9, 3], 4, 2)[1:]
    assert [tuple(tile) for tile in tiles] == [(0, 4, 6, 9), (1, 0, 0, 3)]
    read, kept = rows_of_tiles(tiles, (104, 112), np.array([100, 109]), (3, 6))
    assert read.reshape(3, 6).tolist() == [[0, 1, 2, 3, 4, 8], [5, 6, 7, 8, 8, 8], [8] * 6]
    assert kept.tolist() == [2, 3, 4, 6, 7, 8]


@pytest.mark.parametrize(("samples", "units"), [(0, 0), (1, 1), (1919, 1), (1920, 1), (1921, 2)])
def test_whole_units(samples: int, units: int) -> None:
    assert whole(samples, 1920) == units


def test_offsets_and_batches() -> None:
    assert offsets([3, 0, 2]) == [0, 3, 3, 5]
    assert list(batches([1, 2, 3], 2)) == [[1, 2], [3]]


def _run(layers: list[Reach], x: torch.Tensor) -> torch.Tensor:
    """A stack of causal layers whose every weight is 1: an output is changed by all that it depends on."""
    for layer in layers:
        ones = torch.ones(1, 1, layer.kernel, dtype=torch.float64)
        if layer.up:
            x = F.conv_transpose1d(x, ones, stride=layer.stride)[..., : x.shape[-1] * layer.stride]
        else:
            left = (layer.kernel - 1) * layer.dilation + 1 - layer.stride
            x = F.conv1d(F.pad(x, (left, 0)), ones, stride=layer.stride, dilation=layer.dilation)
    return x


@given(st.lists(CONVS | DOWNS, min_size=1, max_size=4) | st.lists(CONVS | UPS, min_size=1, max_size=4))
def test_reach_is_exactly_how_far_back_a_change_is_seen(layers: list[Reach]) -> None:
    """Derived a second way: change one input, and see whether the first output of a later stretch changes."""
    down = 1
    for layer in layers:
        down *= 1 if layer.up else layer.stride
    reach = left_reach(layers)
    start = whole(reach + 1, down) * down  # where a stretch begins; its first output is number start / down
    length = start + down
    up = 1
    for layer in layers:
        up *= layer.stride if layer.up else 1
    first = start // down * up

    def changed(position: int) -> bool:
        x = torch.zeros(1, 1, length, dtype=torch.float64)
        x[..., position] = 1
        return bool(_run(layers, x)[0, 0, first:].any())

    assert reach == 0 or changed(start - reach)
    assert not any(changed(position) for position in range(start - reach))
