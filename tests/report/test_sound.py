"""What a recording is judged by: loudness, clipping, silence, bandwidth; distances; players."""

import base64
import io

import av
import numpy as np
import pytest
import soxr

from actors.contract import SAMPLE_RATE
from pipeline import load_audio
from pipeline.cli.demo import CLIPS
from pipeline.report.players import PLAYED_S, data_uri
from pipeline.report.quality import compare
from pipeline.report.sound import bandwidth, loudness, measure, silence
from tests.helpers.rows import tone

SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def test_bandwidth_shows_upsampled_telephone_speech() -> None:
    wave = load_audio(str(CLIPS / "en" / "frames.wav"))
    telephone = np.round(soxr.resample(wave, SAMPLE_RATE, 8000) * 32767) / 32767
    upsampled = soxr.resample(telephone.astype(np.float32), 8000, SAMPLE_RATE)
    assert bandwidth(wave) > 11_000
    assert 3500 < bandwidth(upsampled) < 4100


@pytest.mark.parametrize("samples", [9_000, 48_100, 100_300])
def test_bandwidth_of_what_is_cut_off_in_the_middle_of_a_sound(samples: int) -> None:
    wave = load_audio(str(CLIPS / "en" / "frames.wav"))
    upsampled = soxr.resample(soxr.resample(wave, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE).astype(np.float32)
    loud = int(np.abs(upsampled).argmax())
    cuts = [bandwidth(upsampled[max(0, stop - samples) : stop]) for stop in range(loud - 400, loud + 400, 37)]
    assert max(cuts) < 4100


@pytest.mark.parametrize("samples", [1, 1023, 1024, 1025])
def test_bandwidth_of_edges(samples: int) -> None:
    assert bandwidth(np.zeros(samples, np.float32)) == 0
    assert 0 < bandwidth(tone(1.0)[:samples]) <= SAMPLE_RATE / 2


def test_loudness_is_that_of_ebu_r128() -> None:
    sine = np.sin(2 * np.pi * 997 * SECOND).astype(np.float32)
    assert loudness(np.tile(sine, 3)) == pytest.approx(-3.01, abs=0.1)  # the norm's own reference, one channel
    assert loudness(0.1 * sine) == pytest.approx(-23.01, abs=0.1)
    assert loudness(np.zeros(100, np.float32)) == -70


def test_clipping_and_silence() -> None:
    wave = np.concatenate([np.zeros(SAMPLE_RATE), np.ones(SAMPLE_RATE // 2), np.full(SAMPLE_RATE // 2, 0.5)])
    found = measure(wave.astype(np.float32))
    assert found.clipped == 0.25
    assert found.silent == 0.5
    assert silence(np.zeros(3, np.float32)) == 1


def test_distances_tell_near_from_far() -> None:
    wave, noise = load_audio(str(CLIPS / "en" / "frames.wav")), tone(5.0, seed=1)
    near, far = compare(wave + 0.01 * noise[: len(wave)], wave), compare(noise[: len(wave)], wave)
    assert near["log-mel distance"] < far["log-mel distance"]
    assert all(near[name] > far[name] for name in near if name != "log-mel distance")
    assert {"log-mel distance", "SI-SDR", "STOI"} <= near.keys()
    assert compare(wave[:100], wave[:100]) == {}
    assert compare(0 * wave, wave) == {}
    assert "SI-SDR" not in compare(wave, wave)  # infinite
    blip = np.concatenate([0.3 * noise[:2400], np.zeros(SAMPLE_RATE, np.float32)])
    assert "STOI" not in compare(blip, blip)  # 0.1 s of sound: too little for it


def test_pesq_where_it_is_installed() -> None:
    pytest.importorskip("pesq")
    wave = load_audio(str(CLIPS / "en" / "frames.wav"))
    found = compare(wave + 1e-6 * tone(5.0)[: len(wave)], wave)
    assert found["PESQ WB"] == pytest.approx(4.64, abs=0.05)  # the most that the measures give
    assert found["PESQ NB"] == pytest.approx(4.55, abs=0.05)


def test_a_player_holds_the_beginning() -> None:
    wave = load_audio(str(CLIPS / "en" / "frames.wav"))
    kind, _, content = data_uri(np.tile(wave, 4)).partition(";base64,")
    assert kind == "data:audio/webm"
    with av.open(io.BytesIO(base64.b64decode(content))) as file:
        frames = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
        rate = file.streams.audio[0].rate
    heard = soxr.resample(np.concatenate(frames), rate, SAMPLE_RATE)
    assert len(heard) / SAMPLE_RATE == pytest.approx(PLAYED_S, abs=0.05)
    length = min(len(heard), len(wave))
    assert np.corrcoef(heard[:length], wave[:length])[0, 1] > 0.9
