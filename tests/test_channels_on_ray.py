"""What test_channels.py shows in one process, on a real local Ray: channels of loose files, of a tar, of segments."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from actors.codec import Codec
from pipeline import load_audio, tokenize
from pipeline.cli.demo import CLIPS
from pipeline.verify.check import check
from tests.helpers.shards import write_tar


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_channels_and_segments(tmp_path: Path, small_model: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    wave, rate = soundfile.read(CLIPS / "en" / "counted.flac", dtype="int16")
    soundfile.write(calls / "call.flac", np.stack([wave, wave[::-1]], 1), rate)
    write_tar(calls / "s.tar", [("call.flac", (calls / "call.flac").read_bytes())])
    segments = tmp_path / "m.csv"
    segments.write_text(
        f"path,id,start_s,end_s,channel\n{calls}/call.flac,one,0.5,1.5,2\n{calls}/call.flac,two,1.0,,1\n"
    )
    inputs = [str(calls), str(segments)]
    options = {"model": str(small_model), "quiet": True, "settings": {"input.channels": "split"}}
    run = tokenize(inputs, tmp_path / "run", **options)
    assert sorted(one.id for one in run) == [
        *("call.flac@ch1", "call.flac@ch2", "one", "s.tar/call.flac@ch1", "s.tar/call.flac@ch2", "two")
    ]
    codec = Codec.load(str(small_model), device="cpu", precision="fp32")
    for one in run:
        alone = codec.encode([load_audio(calls / "call.flac", one.channel, one.start_s, one.end_s)])[0]
        np.testing.assert_array_equal(one.codes, alone)
        assert one.wave is not None
    assert check(run.location, inputs).problems == []
    assert tokenize(inputs, tmp_path / "run", **options).summary()["attempts"][-1]["audio_s"] == 0
