"""Chunks tile a recording, whatever the blocks; contexts are what came before."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.contract import FRAME_SAMPLES
from pipeline.audio.chunk import Chunk, chunk_count, context_of, cut

L = 4 * FRAME_SAMPLES


def ramp(samples: int) -> np.ndarray:
    return np.arange(samples, dtype=np.float32)


def blocks_of(wave: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(wave), size):
        yield wave[begin : begin + size]


def check(chunks: list[Chunk], wave: np.ndarray, chunk_samples: int, context_samples: int) -> None:
    assert len(chunks) == chunk_count(len(wave), chunk_samples)
    for index, chunk in enumerate(chunks):
        begin = index * chunk_samples
        reach = min(context_samples, begin)
        assert (chunk.index, chunk.first_frame * FRAME_SAMPLES, chunk.context_samples) == (index, begin, reach)
        assert chunk.num_samples == min(chunk_samples, len(wave) - begin) > 0
        assert chunk.audio.dtype == np.float32
        np.testing.assert_array_equal(chunk.audio, wave[begin - reach : begin + chunk.num_samples])


@pytest.mark.parametrize("context", [0, FRAME_SAMPLES, L - FRAME_SAMPLES, L, 3 * L])
@pytest.mark.parametrize("samples", [0, 1, L - 1, L, L + 1, 2 * L - 1, 2 * L, 2 * L + 1, 7 * L])
def test_edges(samples: int, context: int) -> None:
    wave = ramp(samples)
    for size in (L - 1, L, L + 1, 10 * L, 777):
        check(list(cut(blocks_of(wave, size), L, context)), wave, L, context)


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5 * FRAME_SAMPLES), max_size=20),
    chunk_frames=st.integers(1, 7),
    context_frames=st.integers(0, 20),
)
def test_blocks_of_any_size(sizes: list[int], chunk_frames: int, context_frames: int) -> None:
    wave = ramp(sum(sizes))
    blocks = np.split(wave, list(itertools.accumulate(sizes))[:-1]) if sizes else []
    lengths = chunk_frames * FRAME_SAMPLES, context_frames * FRAME_SAMPLES
    check(list(cut(iter(blocks), *lengths)), wave, *lengths)


def test_a_full_chunk_leaves_at_once() -> None:
    taken = []

    def live() -> Iterator[np.ndarray]:
        for number in range(4):
            taken.append(number)
            yield ramp(L)

    assert next(iter(cut(live(), 2 * L, L))).num_samples == 2 * L
    assert taken == [0, 1]


def test_chunks_share_no_memory() -> None:
    whole = ramp(3 * L)
    first, second, third = cut(iter([whole]), L, L)
    first.audio[:] = -1
    second.audio[:] = -1
    np.testing.assert_array_equal(third.audio, ramp(3 * L)[L:])
    np.testing.assert_array_equal(whole, ramp(3 * L))


@pytest.mark.parametrize(("chunk", "context"), [(0, 0), (L + 1, 0), (L, 1), (L, -FRAME_SAMPLES)])
def test_lengths_are_whole_frames(chunk: int, context: int) -> None:
    with pytest.raises(AssertionError):
        list(cut(iter([ramp(10)]), chunk, context))


@settings(max_examples=100, deadline=None)
@given(
    samples=st.integers(1, 12 * L),
    size=st.integers(1, 3 * L),
    context_frames=st.integers(0, 14),
    data=st.data(),
)
def test_begun_at_any_chunk(samples: int, size: int, context_frames: int, data: st.DataObject) -> None:
    wave, context = ramp(samples), context_frames * FRAME_SAMPLES
    whole = list(cut(blocks_of(wave, size), L, context))
    first = data.draw(st.integers(0, len(whole) - 1))
    begin = first * L - context_of(first, L, context)
    rest = list(cut(blocks_of(wave[begin:], size), L, context, first))
    assert [chunk.index for chunk in rest] == list(range(first, len(whole)))
    for ours, expected in zip(rest, whole[first:], strict=True):
        assert (ours.first_frame, ours.num_samples) == (expected.first_frame, expected.num_samples)
        assert ours.context_samples == expected.context_samples
        np.testing.assert_array_equal(ours.audio, expected.audio)
