"""Cutting, joining and reach: pure arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from actors.tiling.tiles import (
    Reach,
    batches,
    cut,
    groups,
    in_order,
    left_reach,
    offsets,
    rows_of_tiles,
    whole,
    windows,
)

LENGTHS = st.lists(st.integers(0, 40), max_size=6)
CONVS = st.builds(Reach, kernel=st.integers(1, 7), stride=st.just(1), dilation=st.integers(1, 3))
DOWNS = st.builds(lambda s, n: Reach(s * n, s), st.integers(2, 4), st.integers(1, 2))
UPS = st.builds(lambda s, n: Reach(s * n, s, up=True), st.integers(2, 4), st.integers(1, 2))


@given(LENGTHS, st.integers(1, 9), st.integers(0, 9))
def test_tiles_write_every_frame_once_in_order(frames: list[int], tile: int, halo: int) -> None:
    tiles = cut(frames, halo + tile, halo)
    written = [(t.recording, frame) for t in tiles for frame in range(t.keep, t.stop)]
    assert written == [(index, frame) for index, length in enumerate(frames) for frame in range(length)]


@given(LENGTHS, st.integers(1, 9), st.integers(0, 9))
def test_tiles_read_their_halo_and_fit_their_window(frames: list[int], tile: int, halo: int) -> None:
    for t in cut(frames, halo + tile, halo):
        assert t.start == 0 or t.keep - t.start == halo
        assert t.stop - t.start <= t.window <= halo + tile
        assert t.stop == frames[t.recording] or t.stop - t.start == halo + tile


@pytest.mark.parametrize(
    ("longest", "lengths"),
    [(26, [7, 13, 26]), (50, [7, 13, 25, 50]), (135, [17, 34, 68, 135]), (13, [7, 13]), (12, [12]), (1, [1])],
)
def test_a_recording_has_the_shortest_window_that_holds_it(longest: int, lengths: list[int]) -> None:
    found = windows(range(longest + 2), longest)
    assert sorted(set(found)) == lengths
    assert found[-1] == longest
    assert found[:-1] == [min(one for one in lengths if one >= frames) for frames in range(longest + 1)]


def test_tiles_run_with_neighbours_of_their_window_and_in_its_shape() -> None:
    tiles = cut([3, 7, 0, 5, 60, 8, 26], 26, 2)
    found = [([tile.recording for tile in group], shape) for group, shape in groups(tiles, 26, 3)]
    assert found == [([0, 1], (2, 7)), ([3], (2, 7)), ([4, 4, 4], (3, 26)), ([5], (1, 13)), ([6], (3, 26))]


@pytest.mark.parametrize(("longest", "halo"), [(26, 2), (50, 10)])
@pytest.mark.parametrize("batch", [32, 3, 1])
def test_no_shape_is_larger_than_that_of_the_longest_window(longest: int, halo: int, batch: int) -> None:
    shapes = {shape for _, shape in groups(cut(range(100), longest, halo), longest, batch)}
    assert max(size * window for size, window in shapes) == batch * longest
    assert min(size for size, _ in shapes) >= 1


MOST = {(26, 2): {0.5: 1.6, 1.0: 1.6, 3.0: 1.45, 6.0: 1.4}, (50, 10): {0.5: 1.9, 1.0: 1.8, 3.0: 1.8, 6.0: 1.6}}
"""(window, halo) of encoding and decoding on CUDA -> median of clips in s -> frames computed for each of theirs."""


@pytest.mark.parametrize("way", MOST)
@pytest.mark.parametrize("median_s", [0.5, 1.0, 3.0, 6.0])
def test_short_windows_save_frames_of_short_clips_and_cost_long_ones_few(way: tuple[int, int], median_s: float) -> None:
    rng, (longest, halo) = np.random.default_rng(0), way
    wanted = computed = before = 0
    for _ in range(8):
        seconds = rng.lognormal(np.log(median_s), 0.6, round(1050 / median_s)).clip(0.24, 35)
        frames = np.ceil(12.5 * seconds[np.cumsum(seconds) < 350]).astype(int)
        tiles = cut(sorted(frames.tolist()), longest, halo)
        wanted += frames.sum()
        computed += sum(size * window for _, (size, window) in groups(tiles, longest, 32))
        before += longest * 32 * whole(sum(1 + whole(max(0, one - longest), longest - halo) for one in frames), 32)
    assert computed / wanted <= MOST[way][median_s]
    assert computed <= 1.07 * before


def test_rows_of_tiles_that_end_early_in_a_batch_that_is_not_full() -> None:
    tiles = cut([9, 3], 6, 2)[1:]
    assert [tuple(tile) for tile in tiles] == [(0, 4, 6, 9, 6), (1, 0, 0, 3, 6)]
    read, kept = rows_of_tiles(tiles, (104, 112), np.array([100, 109]), (3, 6))
    assert read.reshape(3, 6).tolist() == [[0, 1, 2, 3, 4, 8], [5, 6, 7, 8, 8, 8], [8] * 6]
    assert kept.tolist() == [2, 3, 4, 6, 7, 8]


@pytest.mark.parametrize(("samples", "units"), [(0, 0), (1, 1), (1919, 1), (1920, 1), (1921, 2)])
def test_whole_units(samples: int, units: int) -> None:
    assert whole(samples, 1920) == units


def test_offsets_and_batches() -> None:
    assert offsets([3, 0, 2]) == [0, 3, 3, 5]
    assert list(batches([1, 2, 3], 2)) == [[1, 2], [3]]


def test_items_back_in_order() -> None:
    assert in_order(["c", "a", "b"], [2, 0, 1]) == ["a", "b", "c"]


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
