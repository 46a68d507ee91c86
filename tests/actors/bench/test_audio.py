"""Clips of a folder, and clips that are made."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from actors.bench.audio import codes_like, fresh_clips, long_clip, made_clips, read_clips
from actors.errors import InputError


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index, (seconds, rate) in enumerate([(0.5, 16_000), (1.3, 48_000), (0.2, 8_000)]):
        wave = 0.1 * rng.standard_normal((round(seconds * rate), 1 + index % 2))
        soundfile.write(tmp_path / f"{index}.flac", wave, rate)
    return tmp_path


def test_a_folder_without_audio(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No audio under"):
        read_clips(tmp_path, 1)


def test_a_file_that_is_no_audio(clips: Path) -> None:
    (clips / "empty.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.wav cannot be read \(.*Take it out of the folder"):
        read_clips(clips, 9)


def test_clips_are_resampled_to_mono(clips: Path) -> None:
    found = read_clips(clips, 9)
    assert [len(wave) for wave in found] == [12_000, 31_200, 4_800]
    assert all(wave.dtype == np.float32 and wave.ndim == 1 for wave in found)


def test_made_clips_are_the_same_each_time() -> None:
    first, second = made_clips(5), made_clips(5)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(24_000 <= len(wave) <= 12 * 24_000 and wave.dtype == np.float32 for wave in first)


def test_every_seed_has_lengths_of_its_own() -> None:
    seen: set[int] = set()
    for seed in range(5):
        lengths = [len(wave) for wave in fresh_clips(60, seed, 20)]
        assert 60 <= sum(lengths) / 24_000 < 80
        assert all(1.3 * 0.8 <= length / 24_000 <= 20 for length in lengths)
        assert not seen & set(lengths)
        seen |= set(lengths)
    assert np.array_equal(fresh_clips(5, 3, 20)[0], fresh_clips(5, 3, 20)[0])


def test_made_waves_are_audio_and_codes_have_their_frames() -> None:
    wave = long_clip(70)
    assert (wave.dtype, len(wave)) == (np.float32, 70 * 24_000)
    assert 0.05 < wave.std() < 0.3
    codes = codes_like([wave[:1], wave[:1921]], 256, 0)
    assert [one.shape for one in codes] == [(1, 16), (2, 16)]
    assert all(one.dtype == np.int16 and one.min() >= 0 and one.max() < 256 for one in codes)
