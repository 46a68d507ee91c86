"""`voxmill bench read`: made files hold what they say, ways are compared over the same samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.bench import read
from pipeline.bench.read import bench_read, difference, table
from pipeline.bench.sound_files import KINDS, Kind, write_sound
from pipeline.bench.speech import plan, speech, waves
from pipeline.errors import InputError
from tests.helpers.rows import tone


def test_two_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "CLIPS", {2: 2, 1: 3})
    result = bench_read(None, 1, (Kind("wav", 44_100, 2), Kind("m4a", 44_100, 2)))
    assert [(row["format"], row["clip_s"]) for row in result["rows"]] == [
        (kind, seconds) for seconds in (2, 1) for kind in ("wav 44.1 kHz stereo", "m4a 44.1 kHz stereo")
    ]
    wav, m4a = result["rows"][:2]
    assert set(wav["times_real"]) == {"voxmill", "librosa.load", "soundfile + soxr"}
    assert wav["times_real"]["voxmill"] == pytest.approx(4 / wav["cpu_s"]["voxmill"][0], rel=1e-3)
    assert wav["samples"]["librosa.load"] == {"largest": 0.0, "longer": 0}
    assert "soundfile + soxr" not in m4a["times_real"]
    assert m4a["unreadable"]["soundfile + soxr"].endswith("Error opening '000.m4a': Format not recognised.")
    lines = table(json.loads(json.dumps(result))).splitlines()
    assert lines[4].startswith(f"| wav 44.1 kHz stereo | 2 s | {wav['times_real']['voxmill']:,.0f} | ")
    assert lines[4].endswith("x | equal |")
    assert "| - |" in lines[5]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_made_files_are_of_their_kind(kind: Kind, tmp_path: Path) -> None:
    wave = tone(1.5)
    write_sound(tmp_path / f"one.{kind.suffix}", wave, kind)
    ((name, found),) = waves(plan(str(tmp_path)))
    assert name == f"one.{kind.suffix}"
    assert abs(len(found) - len(wave)) < 2048  # AAC ends with a whole block
    if kind.suffix != "m4a":  # which soundfile does not read
        assert len(found) == len(wave)
        info = soundfile.info(tmp_path / f"one.{kind.suffix}")
        assert (info.samplerate, info.channels) == (kind.rate, kind.channels)


def test_speech_is_repeated_to_its_length(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        soundfile.write(tmp_path / f"{name}.wav", tone(0.5, seed), 24_000, subtype="FLOAT")
    first, second = tone(0.5, 1), tone(0.5, 2)
    assert np.array_equal(speech(str(tmp_path), 1.25), np.concatenate([first, second, first[:6000]]))


def test_speech_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="No recording of"):
        speech(str(tmp_path), 1)


def test_samples_are_compared() -> None:
    ours = [np.zeros(4, np.float32), np.ones(4, np.float32)]
    assert difference(ours, ours) == {"largest": 0.0, "longer": 0}
    others = [np.zeros(6, np.float32), np.array([1, 1, 0.5], np.float32)]
    assert difference(ours, others) == {"largest": 0.5, "longer": 2}
