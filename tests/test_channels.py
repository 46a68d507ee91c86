"""Two speakers on two channels: each is the recording it is alone; reruns, retries, checks."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from actors.codec import Codec
from pipeline import load_audio, open_run, tokenize
from pipeline.cli.demo import CLIPS
from pipeline.errors import InputError
from pipeline.run.drop import drop
from pipeline.run.keys import Keys
from pipeline.run.reader import Run
from pipeline.storage.text import id_hashes
from pipeline.verify.check import check
from pipeline.verify.retry_failures import retry
from tests.helpers.commands import in_process
from tests.helpers.shards import write_tar
from tests.helpers.sounds import pcm, riff

SPLIT = {"input.channels": "split"}
EVERY = ["bad.wav@ch1", "call.flac@ch1", "call.flac@ch2", "mono.flac@ch1", "s.tar/call.flac@ch1", "s.tar/call.flac@ch2"]


@pytest.fixture(scope="module", autouse=True)
def codec(small_model: Path) -> Iterator[Codec]:
    """That of the runs, which are made in this process."""
    codec = Codec.load(str(small_model), device="cpu", precision="fp32")
    with in_process(codec):
        yield codec


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call, loose and in a tar; a mono file; one with a bad channel, and one that is no audio."""
    folder = tmp_path_factory.mktemp("calls")
    one, rate = soundfile.read(CLIPS / "en" / "counted.flac", dtype="int16")
    other = soundfile.read(CLIPS / "de" / "zeichen.flac", dtype="int16")[0]
    both = np.zeros((max(len(one), len(other)), 2), np.int16)
    both[: len(one), 0], both[: len(other), 1] = one, other
    soundfile.write(folder / "call.flac", both, rate)
    soundfile.write(folder / "mono.flac", one, rate)
    write_tar(folder / "s.tar", [("call.flac", (folder / "call.flac").read_bytes())])
    bad = np.zeros((rate, 2), np.float32)
    bad[5, 1] = np.nan
    (folder / "bad.wav").write_bytes(riff(pcm(rate, 2, 32, code=3), bad.tobytes()))
    (folder / "no.wav").write_bytes(b"no audio at all")
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory, small_model: Path, codec: Codec) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return tokenize(corpus, out, model=str(small_model), reconstruct=False, quiet=True, settings=SPLIT)


def again(run: Run, corpus: Path, **settings: object) -> Run:
    model = run.summary()["settings"]["model"]
    return tokenize(corpus, run.location, model=model, reconstruct=False, quiet=True, settings={**SPLIT, **settings})


def test_each_channel_is_a_recording(run: Run, corpus: Path, codec: Codec) -> None:
    assert sorted(recording.id for recording in run) == EVERY
    failures = {row["id"]: (row["error"], row["channel"]) for row in run.failures().to_pylist()}
    assert failures == {"bad.wav@ch2": ("NonFiniteAudio", 2), "no.wav": ("NotAudio", 0)}
    for channel in (1, 2):
        wave = soundfile.read(corpus / "call.flac", dtype="float32")[0][:, channel - 1]
        soundfile.write(corpus.parent / "alone.flac", wave, soundfile.info(corpus / "call.flac").samplerate)
        (alone,) = codec.encode([load_audio(corpus.parent / "alone.flac")])
        for id_ in (f"call.flac@ch{channel}", f"s.tar/call.flac@ch{channel}"):
            found = run[id_]
            assert (found.channel, found.source_channels) == (channel, 2)
            np.testing.assert_array_equal(found.codes, alone)


def test_the_run_is_sound(run: Run, corpus: Path) -> None:
    report = check(run.location, [str(corpus)], sample=3)
    assert report.problems == []


def test_a_rerun_reads_what_is_missing_and_nothing_else(run: Run, corpus: Path) -> None:
    before = {recording.id: recording.codes for recording in run}
    assert again(run, corpus).summary()["attempts"][-1]["audio_s"] == 0
    drop(
        Keys(LocalFileSystem(), run.location),
        set(id_hashes(pa.array(["call.flac@ch2", "s.tar/call.flac@ch1"])).tolist()),
    )
    problems = check(run.location, [str(corpus)]).problems
    assert [line for line in problems if line.startswith("call.flac is an input")]
    after = again(run, corpus)
    seconds = sum(after[id_].duration_s for id_ in ("call.flac@ch2", "s.tar/call.flac@ch1"))
    assert after.summary()["attempts"][-1]["audio_s"] == pytest.approx(seconds)
    assert {recording.id: recording.codes.tolist() for recording in after} == {k: v.tolist() for k, v in before.items()}
    assert check(run.location, [str(corpus)]).problems == []


def test_other_channels_of_the_same_ids_are_refused(run: Run, corpus: Path) -> None:
    for channels in ("mean", 1):
        with pytest.raises(InputError, match="channel"):
            again(run, corpus, **{"input.channels": channels})
    assert sorted(recording.id for recording in open_run(run.location)) == EVERY


def test_failures_of_channels_are_retried(run: Run, corpus: Path) -> None:
    silence = np.zeros((8000, 2), np.float32)
    (corpus / "no.wav").write_bytes(riff(pcm(8000, 2, 32, code=3), silence.tobytes()))
    done = retry(run.location, quiet=True)
    assert sorted(recording.id for recording in done) == sorted([*EVERY, "no.wav@ch1", "no.wav@ch2"])
    assert done.failures()["id"].to_pylist() == ["bad.wav@ch2"]
    assert check(run.location, [str(corpus)]).problems == []


def test_segments_and_channels_of_a_manifest(corpus: Path, tmp_path: Path, small_model: Path, codec: Codec) -> None:
    rows = [
        {"audio_filepath": str(corpus / "call.flac"), "id": f"{channel}/{start}", "offset": start, "duration": 1.0}
        | ({"channel": channel} if channel else {})
        for channel in (None, 1, 2, 3)
        for start in (0.0, 0.5)
    ]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    made = tokenize(tmp_path / "m.jsonl", tmp_path / "run", model=str(small_model), reconstruct=False, quiet=True)
    assert sorted(made.failures()["error"].to_pylist()) == ["NoSuchChannel"] * 2
    assert len(made) == 6
    for found in made:
        assert found.source.endswith("call.flac")
        wave = load_audio(corpus / "call.flac", found.channel, found.start_s, found.end_s)
        np.testing.assert_array_equal(found.codes, codec.encode([wave])[0])
