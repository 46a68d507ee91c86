"""Where speech is found: known times, streams equal to the whole, one decoding; what is not installed is said."""

import importlib.util
import io
from collections.abc import Iterator

import numpy as np
import pytest
import silero_vad
import soundfile
import soxr

from pipeline.audio import speech
from pipeline.audio.decode import open_file
from pipeline.audio.kept import kept
from pipeline.audio.source import Source
from pipeline.audio.speech import Heard, stretches_of, vad_version
from pipeline.cli.demo import CLIPS
from pipeline.errors import SettingsError, TruncatedAudio
from pipeline.loading import load_audio
from tests.audio.blocks import BLOCK_VALUES

RATE = 16_000
SAID = ("en/counted.flac", "pt/telefone.wav", "es/fotogramas.mp3")


def spoken(gap_s: float = 2.0) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Clips with `gap_s` of silence before, between and behind them, float32 at 16 kHz; and when each is."""
    pieces, times, at = [], [], 0.0
    for name in SAID:
        clip = soxr.resample(load_audio(CLIPS / name), 24_000, RATE)
        loud = np.flatnonzero(np.abs(clip) > 0.05 * np.abs(clip).max())
        clip = clip[loud[0] : loud[-1] + 1]  # without its own silence
        pieces += [np.zeros(round(gap_s * RATE), np.float32), clip]
        times.append((at + gap_s, at + gap_s + len(clip) / RATE))
        at += gap_s + len(clip) / RATE
    return np.concatenate([*pieces, np.zeros(round(gap_s * RATE), np.float32)]), times


def flac(wave: np.ndarray, rate: int = RATE) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC")
    file.seek(0)
    return file


def heard(file: io.BytesIO, *channels: int | None) -> list[Heard]:
    with open_file(file, "x") as opened:
        return list(stretches_of(opened, channels or (None,)))


@pytest.mark.parametrize("rate", [8_000, RATE, 24_000, 44_100])
def test_speech_is_found_where_it_is(rate: int) -> None:
    wave, times = spoken()
    (found,) = heard(flac(soxr.resample(wave, RATE, rate), rate))
    assert found.error is None
    for begin, end in times:  # a pause in a clip may part it
        inside = [one for one in found.stretches if one[1] > begin - 1 and one[0] < end + 1]
        assert abs(inside[0][0] - begin) < 0.2
        assert abs(inside[-1][1] - end) < 0.2
    assert all(any(begin - 0.2 < one[0] < one[1] < end + 0.2 for begin, end in times) for one in found.stretches)


def test_a_stream_gives_what_the_package_gives_of_the_whole() -> None:
    """Also beyond the frames of one call, which is 16.4 s."""
    wave = np.concatenate([spoken()[0]] * 3)
    wave = soundfile.read(flac(wave), dtype="float32")[0]
    assert len(wave) > 2 * speech.BLOCK_FRAMES * speech.FRAME
    model = silero_vad.load_silero_vad(sequence=True)
    whole = silero_vad.get_speech_timestamps_sequence(wave, model)
    (found,) = heard(flac(wave))
    assert found.stretches == [(one["start"] / RATE, one["end"] / RATE) for one in whole]
    frames = -(-len(wave) // speech.FRAME)
    for size in (511, speech.BLOCK_FRAMES * speech.FRAME, len(wave)):
        stream = speech._Stream(RATE)
        for begin in range(0, len(wave), size):
            stream.feed(wave[begin : begin + size, None])
        assert stream.stretches() == found.stretches
        np.testing.assert_array_equal(np.concatenate(stream.probabilities), model.audio_forward(wave))
        assert len(np.concatenate(stream.probabilities)) == frames


def test_of_a_stream_little_is_held() -> None:
    stream = speech._Stream(RATE)
    for _ in range(100):
        stream.feed(np.zeros((RATE, 1), np.float32))
        assert sum(map(len, stream.waiting)) < (speech.BLOCK_FRAMES * speech.FRAME) + RATE + speech.CONTEXT


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 5 * RATE])
def test_there_is_no_speech_in_silence_and_noise(samples: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, samples)
    assert [one.stretches for one in (*heard(flac(noise)), *heard(flac(np.zeros(samples))))] == [[], []]


def test_each_channel_is_heard_by_itself_in_one_pass() -> None:
    wave, _ = spoken()
    both = np.stack([wave, np.zeros_like(wave), np.roll(wave, 3 * RATE)], axis=1)
    alone = [heard(flac(both[:, channel]))[0].stretches for channel in range(3)]
    opened = heard(flac(both), 1, 2, 3, 4)
    found = {one.number: one for one in opened}
    assert [found[number].stretches for number in range(3)] == alone
    assert type(found[3].error).__name__ == "NoSuchChannel"


def test_a_file_that_breaks_says_so() -> None:
    content = flac(spoken()[0]).getvalue()
    (found,) = heard(io.BytesIO(content[: len(content) // 2]))
    assert found.stretches == []
    assert isinstance(found.error, TruncatedAudio)


# ---- what is kept for the second pass


def source(blocks: int, passes: list[int], broken: bool = False) -> Source:
    """Blocks of 10 samples, block n of value n; `passes` tells where each pass began."""

    def decoded(start: int) -> Iterator[np.ndarray]:
        passes.append(start)
        for number in range(start // 10, blocks):
            yield np.full((10, 1), number, np.float32)
        if broken:
            raise TruncatedAudio("it breaks off")

    return Source("x", RATE, 1, lambda start: (start // 10 * 10, decoded(start)))


def values(given: tuple[int, Iterator[np.ndarray]]) -> tuple[int, list[float]]:
    return given[0], [float(block[0, 0]) for block in given[1]]


def test_what_was_read_to_the_end_is_not_decoded_again() -> None:
    passes: list[int] = []
    one = kept(source(3, passes), 120)
    assert values(one.blocks(0)) == (0, [0, 1, 2])
    assert [values(one.blocks(start)) for start in (0, 9, 10, 29, 30)] == [
        (0, [0, 1, 2]),
        (0, [0, 1, 2]),
        (10, [1, 2]),
        (20, [2]),
        (30, []),
    ]
    assert passes == [0]


@pytest.mark.parametrize(("most", "start", "broken"), [(119, 0, False), (1000, 10, False), (1000, 0, True)])
def test_what_is_too_much_or_not_whole_is_decoded_again(most: int, start: int, broken: bool) -> None:
    passes: list[int] = []
    one = kept(source(3, passes, broken), most)
    for _ in range(2):
        try:
            values(one.blocks(start))
        except TruncatedAudio:
            assert broken
    assert passes == [start, start]


def test_a_pass_that_stops_early_keeps_nothing() -> None:
    passes: list[int] = []
    one = kept(source(3, passes), 1000)
    next(one.blocks(0)[1])
    assert values(one.blocks(0)) == (0, [0, 1, 2])
    assert passes == [0, 0]


@pytest.mark.parametrize("keep", [0, 1 << 24])
@pytest.mark.parametrize("form", ["FLAC", "OGG", "WAV"])
def test_a_file_can_be_read_a_second_time(form: str, keep: int) -> None:
    wave, file = spoken()[0], io.BytesIO()
    soundfile.write(file, wave, RATE, format=form)
    assert len(wave) > BLOCK_VALUES
    file.seek(0)
    with open_file(file, "x", keep=keep) as opened:
        passes = [list(opened.read([speech.View()])) for _ in range(2)]
    first, second = (np.concatenate([one.block for one in pieces if one.block is not None]) for pieces in passes)
    np.testing.assert_array_equal(first, second)
    assert len(first) == len(wave)


# ---- the package


def test_what_finds_speech_has_a_version() -> None:
    assert vad_version("none") is None
    assert vad_version("silero") == f"silero-vad {silero_vad.__version__}"


@pytest.mark.parametrize("lacks", ["silero_vad", "onnxruntime"])
def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == lacks else real(name))
    assert vad_version("none") is None
    with pytest.raises(SettingsError, match=r"pip install 'silero-vad"):
        vad_version("silero")


def test_a_package_without_the_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "WEIGHTS", "of_another_version.onnx")
    with pytest.raises(SettingsError, match="of_another_version"):
        vad_version("silero")
