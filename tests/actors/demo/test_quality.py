"""What the model card states about pitch and silence is what the words there say."""

import numpy as np
import pytest

from actors.contract import SAMPLE_RATE
from actors.demo.pitch import compare_pitch, quiet_noise
from actors.demo.speech import read_clips
from actors.measures import level_db
from pipeline.cli.demo import CLIPS

UNVOICED = float("nan")


def test_pitch_errors_count_voicing_and_pitch() -> None:
    said = np.array([100, 100, 100, 100, UNVOICED, UNVOICED, 200, 200])
    heard = np.array([100, 119, 121, UNVOICED, UNVOICED, 90, 161, 100])
    errors = compare_pitch(heard, said)
    assert errors.frames == pytest.approx(4 / 8)
    assert errors.voiced == pytest.approx(3 / 6)
    assert errors.gross == pytest.approx(2 / 5)


def test_pitch_errors_of_the_same_and_of_nothing() -> None:
    said = np.array([100, UNVOICED, 150])
    assert compare_pitch(said, said) == (0, 0, 0)
    whispered = np.full(3, UNVOICED)
    errors = compare_pitch(whispered, said)
    assert (errors.frames, errors.voiced) == (pytest.approx(2 / 3), 1)
    assert np.isnan(errors.gross)
    assert np.isnan(compare_pitch(said, whispered).voiced)


@pytest.mark.parametrize("level", [-80.0, -60.0, -20.0])
def test_noise_has_its_level(level: float) -> None:
    noise = quiet_noise(level=level)
    assert noise.dtype == np.float32
    assert len(noise) == 4 * SAMPLE_RATE
    assert level_db(noise) == pytest.approx(level, abs=0.1)


def test_level_of_silence_and_of_full_scale() -> None:
    assert level_db(np.zeros(10, np.float32)) == pytest.approx(-200)
    assert level_db(np.ones(10, np.float32)) == pytest.approx(0)


def test_every_bundled_clip_that_can_be_read_is_read() -> None:
    clips = read_clips(CLIPS)
    assert {name.split("/")[0] for name in clips} == {"cmn", "de", "en", "es", "fr", "pt"}
    assert "it/broken.flac" not in clips
    for name, wave in clips.items():
        assert (wave.dtype, wave.ndim) == (np.float32, 1), name
        assert 2 * SAMPLE_RATE < len(wave) < 5 * SAMPLE_RATE, name
        assert 0.01 < wave.std() < 0.5, name
