"""Views of one file, read in one pass: each is what it is when it is read alone, and fails alone."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio.decode import open_audio, open_file
from pipeline.audio.views import View
from pipeline.errors import NonFiniteAudio, NoSuchChannel, RecordingError, SegmentOutside, TruncatedAudio
from tests.helpers.sounds import RATE, pcm, rate_of, riff, sound, tone, with_soundfile

FORMATS = ["wav", "flac", "mp3", "ogg", "opus", "m4a", "webm"]


def alone(data: bytes, view: View) -> np.ndarray | type[RecordingError]:
    """The samples of a view that is read by itself, or its error."""
    try:
        with open_audio(io.BytesIO(data), "x", start_s=view.start_s, end_s=view.end_s, channel=view.channel) as audio:
            return np.concatenate(list(audio.blocks))
    except RecordingError as error:
        return type(error)


def together(
    data: bytes | io.BytesIO, views: list[View], **rules: object
) -> tuple[list[np.ndarray | type[RecordingError]], list[int]]:
    """The same of views that are read in one pass; and their numbers in the order in which they ended."""
    blocks: list[list[np.ndarray]] = [[] for _ in views]
    errors: dict[int, type[RecordingError]] = {}
    ended = []
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    with open_file(file, "x", **rules) as opened:  # type: ignore[arg-type]
        for number, block, error in opened.read(views):
            assert number not in ended
            if block is not None:
                blocks[number].append(block)
            else:
                ended.append(number)
                if error is not None:
                    assert str(error).startswith("x: ")
                    errors[number] = type(error)
    assert sorted(ended) == list(range(len(views)))
    return [
        errors.get(number, np.concatenate([*part, np.empty((0, 0))[:, :0]]) if not part else np.concatenate(part))
        for number, part in enumerate(blocks)
    ], ended


def assert_equal(found: list, expected: list) -> None:
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, type):
            assert one is other
        else:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_a_view_that_begins_in_the_last_half_sample_is_outside(name: str) -> None:
    data = sound(name, 1.0)
    samples = len(alone(data, View()))  # type: ignore[arg-type]
    assert alone(data, View((samples - 0.4) / RATE)) is SegmentOutside
    assert len(alone(data, View((samples - 0.6) / RATE))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_overlapping_segments_and_channels_are_what_they_are_alone(name: str) -> None:
    data = sound(name, 12.0, 2)
    bounds = [(9.0, 10.0), (0.0, None), (0.5, 3.0), (2.5, 2.75), (2.5, 9.0), (11.5, None), (0.5, 3.0), (10.0, 30.0)]
    views = [View(start, end, channel) for start, end in bounds for channel in (None, 1, 2, 3)]
    found, _ = together(data, views)
    assert_equal(found, [alone(data, view) for view in views])
    assert [one for one in found if isinstance(one, type)].count(NoSuchChannel) == len(bounds)
    assert found[-4:-1] == [SegmentOutside] * 3


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(["wav", "flac", "mp3"]),
    bounds=st.lists(st.tuples(st.integers(0, 1250), st.integers(1, 900)), min_size=1, max_size=8),
)
def test_any_segments(name: str, bounds: list[tuple[int, int]]) -> None:
    data = sound(name, 12.0)
    views = [View(start / 100, (start + length) / 100) for start, length in bounds]
    assert_equal(together(data, views)[0], [alone(data, view) for view in views])


@pytest.mark.parametrize("name", FORMATS)
def test_one_decode_serves_all_views_in_order_of_time(name: str) -> None:
    data, beats = sound(name, 20.0, 2), [0, 0]

    def decoded(number: int, views: list[View]) -> list[int]:
        def beat() -> None:
            beats[number] += 1

        return together(data, views, beat=beat)[1]

    decoded(0, [View()])
    views = [View(start, start + 1.0, channel) for start in range(19) for channel in (1, 2)]
    assert decoded(1, views[::-1]) == sorted(range(len(views)), key=lambda n: views[::-1][n].start_s)
    assert beats[1] <= beats[0]


@pytest.mark.parametrize(("name", "share"), [("wav", 0.2), ("flac", 0.3), ("mp3", 1.0)])
def test_what_no_view_holds_is_passed_over_where_that_is_exact(name: str, share: float) -> None:
    data = sound(name, 60.0, 2)
    beats: list[None] = []
    views = [View(50.0, 51.0), View(1.0, 2.0), View(30.0, 31.0)]
    found, _ = together(data, views, beat=lambda: beats.append(None))
    assert_equal(found, [alone(data, view) for view in views])
    whole: list[None] = []
    together(data, [View()], beat=lambda: whole.append(None))
    assert len(beats) <= share * len(whole)


def test_a_break_fails_what_holds_it_and_nothing_else() -> None:
    data = bytearray(sound("flac", 12.0))
    data[len(data) // 2 : len(data) // 2 + 4] = b"\xff" * 4
    views = [View(second, second + 1.0) for second in range(12)]
    found, _ = together(bytes(data), views)
    broken = [number for number, one in enumerate(found) if one is TruncatedAudio]
    assert broken
    assert set(broken) <= {4, 5, 6, 7}
    whole = alone(sound("flac", 12.0), View())
    assert isinstance(whole, np.ndarray)
    for number in set(range(12)) - set(broken):
        np.testing.assert_array_equal(found[number], whole[number * RATE : (number + 1) * RATE])


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus", "index_first.mp4", "webm", "aac"])
def test_a_file_that_ends_early_keeps_what_is_before(name: str) -> None:
    data = sound(name, 12.0)[: len(sound(name, 12.0)) * 2 // 3]
    views = [View(second, second + 1.0) for second in range(12)]
    found, _ = together(data, [*views, View()])
    assert_equal(found, [alone(data, view) for view in [*views, View()]])
    assert_equal(found[:5], [alone(sound(name, 12.0), view) for view in views[:5]])
    assert found[10:] == [TruncatedAudio] * 3
    kept, _ = together(data, views, allow_truncated=True)
    assert_equal(kept[:5], found[:5])
    assert kept[10:] == [SegmentOutside] * 2


def test_an_ogg_with_a_gap_fails_as_a_whole() -> None:
    data = bytearray(sound("opus", 12.0))
    data[len(data) // 2] ^= 0xFF  # FFmpeg leaves the page out, and all behind it moves forward
    with pytest.raises(TruncatedAudio, match="damaged"):
        together(bytes(data), [View(0.0, 1.0)])


def test_a_sample_that_is_not_finite_fails_the_views_that_hold_it() -> None:
    wave = np.zeros((3 * RATE, 2), np.float32)
    wave[RATE + 5, 1] = np.nan
    data = riff(pcm(RATE, 2, 32, code=3), wave.tobytes())
    found, _ = together(data, [View(), View(0, 1), View(1, 2, 1), View(1, 2, 2), View(2, 3, 2)])
    assert [isinstance(one, np.ndarray) or one for one in found] == [NonFiniteAudio, True, True, NonFiniteAudio, True]


def test_bytes_that_cannot_be_read_fail_the_rest() -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 400_000:
                raise OSError("gone")
            return super().read(size)

    found, _ = together(
        Breaks(with_soundfile(tone(12.0), RATE, "WAV", "PCM_16")), [View(s, s + 1.0) for s in range(12)]
    )
    names = [one if isinstance(one, str) else getattr(one, "__name__", "read") for one in found]
    assert names[:2] == ["read"] * 2
    assert set(names[5:]) == {"UnreadableAudio"}


def test_how_many_channels_there_are_is_said() -> None:
    for channels, text in ((1, "it has 1 channel."), (2, "it has 2 channels, 1 to 2.")):
        with open_file(io.BytesIO(sound("wav", 2.0, channels)), "x") as opened:
            (piece,) = opened.read([View(channel=3)])
        assert isinstance(piece.error, NoSuchChannel)
        assert text in str(piece.error)
        assert rate_of("wav") == opened.rate
