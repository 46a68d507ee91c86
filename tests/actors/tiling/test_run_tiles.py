"""Rows of many recordings through a stack, in both ways: what comes out, and in which shapes."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from actors.tiling.run_tiles import Span, Tiled, Way, joined
from actors.tiling.stack import Carried

HALO = 2
CPU = torch.device("cpu")


class Sums:
    """A causal layer: each row and the HALO rows before it, added up. Notes the shapes that it is given."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, int]] = set()
        self.computed = 0

    def __call__(self, rows: Tensor, carried: Carried | None = None) -> Tensor:
        self.shapes.add((rows.shape[0], rows.shape[1]))
        self.computed += rows.shape[0] * rows.shape[1]
        left = rows.new_zeros(len(rows), HALO, rows.shape[2]) if not carried else carried[self]
        seen = torch.cat((left, rows), 1)
        if carried is not None:
            carried[self] = seen[:, rows.shape[1] :]
        return sum(seen[:, back : back + rows.shape[1]] for back in range(HALO + 1))  # type: ignore[return-value]


def run(tiled: Tiled, recordings: Sequence[Tensor]) -> list[Tensor]:
    """Rows [F, 1] of recordings -> their sums."""
    frames = [len(one) for one in recordings]
    flat = torch.cat(list(recordings))

    def load(spans: Sequence[Span]) -> Iterator[Tensor]:
        return (flat[low:high] for low, high in spans)

    return list(joined(tiled.pieces(load, frames), len(flat)).split(frames))


@pytest.mark.parametrize("batch", [None, 1, 5, 32])
def test_any_company_in_any_order_gives_the_sums_in_few_shapes(batch: int | None) -> None:
    rng, stack = np.random.default_rng(0), Sums()
    tiled = Tiled(stack, HALO, Way(CPU, torch.int64, 24, batch))
    for count in (1, 2, 40):
        frames = [7, *rng.lognormal(2.5, 1.0, count).astype(int).tolist()]
        recordings = [torch.randint(-9, 9, (one, 1)) for one in frames]
        for order in (tiled.order(frames), range(len(frames))):
            given = [recordings[number] for number in order]
            for rows, found in zip(given, run(tiled, given), strict=True):
                padded = torch.cat((rows.new_zeros(HALO, 1), rows))
                expected = padded[2:] + padded[1:-1] + padded[:-2]
                assert torch.equal(found, expected)
    if batch is not None:
        assert len(stack.shapes) == 3
        assert {window for _, window in stack.shapes} == {7, 13, 26}


def test_recordings_that_run_at_once_are_neighbours_and_else_keep_their_order() -> None:
    frames = [30, 3, 20, 8, 0, 7]
    assert Tiled(Sums(), HALO, Way(CPU, torch.int64, 24, 4)).order(frames) == [1, 4, 5, 3, 0, 2]
    assert Tiled(Sums(), HALO, Way(CPU, torch.int64, 24, None)).order(frames) == [4, 1, 5, 3, 2, 0]


def test_carrying_computes_each_frame_once_and_short_recordings_of_one_length_at_once() -> None:
    stack, frames = Sums(), [3, 3, 7, 7, 7, 7, 24, 24, 30]
    run(Tiled(stack, HALO, Way(CPU, torch.int64, 24, None)), [torch.ones(one, 1, dtype=torch.int64) for one in frames])
    assert stack.computed == sum(frames)
    assert stack.shapes == {(2, 3), (3, 7), (1, 7), (1, 24), (1, 6)}


@pytest.mark.parametrize(("frames", "most"), [(7, 1.1), (13, 1.1), (1, 7.7)])
def test_short_clips_compute_few_frames_of_padding(frames: int, most: float) -> None:
    """A window for all computed 26 frames of each."""
    stack = Sums()
    run(Tiled(stack, HALO, Way(CPU, torch.int64, 24, 32)), [torch.ones(frames, 1)] * 320)
    assert stack.computed / (320 * frames) <= most
