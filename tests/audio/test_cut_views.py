"""Chunks of views: those of each alone, whether they wait for their number, are counted first, or leave at once."""

import io

import numpy as np
import pytest

import pipeline.audio.cut_views
from actors.contract import FRAME_SAMPLES
from pipeline.audio.chunk import Chunk, cut
from pipeline.audio.cut_views import Wanted, cut_views
from pipeline.audio.decode import open_audio, open_file
from pipeline.audio.resample import resample
from pipeline.audio.views import View
from tests.helpers.sounds import sound

L, CONTEXT = 12 * FRAME_SAMPLES, 5 * FRAME_SAMPLES  # 0.96 s, 0.4 s
NONE = frozenset[int]()


def alone(data: bytes, channel: int | None = None) -> list[Chunk]:
    with open_audio(io.BytesIO(data), "x", channel=channel) as audio:
        return list(cut(resample(audio.blocks, audio.rate), L, CONTEXT))


def one_pass(data: bytes, wanted: list[Wanted]) -> tuple[dict[int, list[Chunk]], dict[int, int]]:
    """The chunks of each view, and how many it has."""
    chunks: dict[int, list[Chunk]] = {number: [] for number in range(len(wanted))}
    counts = {}
    with open_file(io.BytesIO(data), "x") as opened:
        for number, chunk, count, error in cut_views(opened, wanted, L, CONTEXT):
            assert error is None
            assert count is not None
            assert number not in counts
            if chunk is None:
                counts[number] = count
            else:
                chunks[number].append(chunk)
    return chunks, counts


def assert_same(found: list[Chunk], expected: list[Chunk]) -> None:
    assert [(c.index, c.first_frame, c.num_samples, c.context_samples) for c in found] == [
        (c.index, c.first_frame, c.num_samples, c.context_samples) for c in expected
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.audio, other.audio)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus"])
def test_each_channel_is_cut_as_it_is_alone(name: str) -> None:
    data = sound(name, 7.3, 2)
    chunks, counts = one_pass(
        data, [Wanted(View(channel=channel), NONE) for channel in (1, 2)] + [Wanted(View(), NONE)]
    )
    for number, channel in enumerate((1, 2, None)):
        assert_same(chunks[number], alone(data, channel))
        assert counts[number] == len(chunks[number]) == 8


def test_chunks_that_are_committed_are_left_out() -> None:
    chunks, counts = one_pass(sound("flac", 7.3), [Wanted(View(), frozenset({0, 3, 7}))])
    assert [chunk.index for chunk in chunks[0]] == [1, 2, 4, 5, 6]
    assert counts == {0: 8}


def test_what_is_too_long_is_counted_and_comes_of_a_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sound("flac", 7.3, 2)
    monkeypatch.setattr(pipeline.audio.cut_views, "HOLD_BYTES", 12 * L)
    wanted = [Wanted(View(channel=1), NONE), Wanted(View(0.0, 1.5), NONE), Wanted(View(channel=2), NONE)]
    chunks, counts = one_pass(data, wanted)
    assert counts == {0: 8, 1: 2, 2: 8}
    assert [len(chunks[number]) for number in (0, 2)] == [0, 0]
    again, _ = one_pass(data, [Wanted(View(channel=1), NONE, 8)])
    assert_same(again[0], alone(data, 1))


def test_more_views_than_fit_come_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sound("flac", 7.3, 2)
    monkeypatch.setattr(pipeline.audio.cut_views, "HOLD_BYTES", 1)
    left = {number: Wanted(View(channel=number % 2 + 1), NONE, 8) for number in range(4)}
    for _ in range(4):
        chunks, _ = one_pass(data, list(left.values()))
        whole = [number for number, found in zip(left, chunks.values(), strict=True) if len(found) == 8]
        assert len(whole) == 1
        del left[whole[0]]


def test_chunks_of_a_wav_leave_at_once() -> None:
    with open_file(io.BytesIO(sound("wav", 7.3)), "x") as opened:
        results = cut_views(opened, [Wanted(View(), NONE), Wanted(View(6.0), NONE)], L, CONTEXT)
        assert [next(results)[2] for _ in range(3)] == [8, 8, 8]
        rest = list(results)
    assert [result.view for result in rest if result.chunk is None] == [0, 1]


def test_no_chunk_of_a_broken_recording_leaves() -> None:
    data = bytearray(sound("flac", 7.3))
    data[len(data) * 3 // 4] ^= 0xFF
    with open_file(io.BytesIO(bytes(data)), "x") as opened:
        (result,) = cut_views(opened, [Wanted(View(), NONE)], L, CONTEXT)
    assert type(result.error).__name__ == "TruncatedAudio"
