"""Stretches of speech are recordings: the ones a manifest would give; reruns, retries, kills, channels, containers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import soxr
from pyarrow.fs import LocalFileSystem

from actors.codec import Codec
from pipeline import open_run, tokenize
from pipeline.audio import speech
from pipeline.audio.speech import RATE, Heard
from pipeline.cli.demo import CLIPS
from pipeline.dry_run import dry_run
from pipeline.errors import InputError, OutputError, SettingsError
from pipeline.job import prepare
from pipeline.loading import load_audio
from pipeline.read import source_file
from pipeline.run.drop import drop
from pipeline.run.keys import Keys
from pipeline.run.reader import Run
from pipeline.schema import spoken_ids
from pipeline.settings import load_settings
from pipeline.storage.text import id_hashes
from pipeline.verify.check import check
from pipeline.verify.retry_failures import retry
from tests.helpers.commands import in_process
from tests.helpers.faults.chaos import Chaos, DriverKilled, without_ray
from tests.helpers.shards import write_parquet, write_tar

VAD = {"input.vad": "silero"}
LOCAL = LocalFileSystem()


@pytest.fixture(scope="module", autouse=True)
def codec(small_model: Path) -> Iterator[Codec]:
    """That of the runs, which are made in this process."""
    codec = Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)
    with in_process(codec):
        yield codec


def said(*names: str) -> np.ndarray:
    """The bundled clips, a second of silence before, between and behind them, float32 at 16 kHz."""
    silence = np.zeros(RATE, np.float32)
    clips = [soxr.resample(load_audio(CLIPS / name), 24_000, RATE) for name in names]
    return np.concatenate([silence, *(piece for clip in clips for piece in (clip, silence))])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talk, a call whose second channel is silent, the talk in a tar, noise, and what is no audio."""
    folder = tmp_path_factory.mktemp("talks")
    one, other = said("en/counted.flac", "pt/telefone.wav"), said("pt/telefone.wav")
    soundfile.write(folder / "talk.flac", one, RATE)
    soundfile.write(folder / "call.wav", np.stack([other, np.zeros_like(other)], axis=1), RATE)
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).normal(0, 0.01, RATE), RATE)
    write_tar(folder / "s.tar", [("talk.flac", (folder / "talk.flac").read_bytes())])
    (folder / "no.wav").write_bytes(b"no audio at all")
    return folder


def make(inputs: object, out: Path, model: Path | str, **settings: object) -> Run:
    chosen = {**VAD, **{name.replace("__", "."): value for name, value in settings.items()}}
    return tokenize(inputs, out, model=str(model), reconstruct=False, quiet=True, settings=chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory, small_model: Path, codec: Codec) -> Run:
    return make(corpus, tmp_path_factory.mktemp("runs") / "run", small_model)


def again(run: Run, inputs: object, **settings: object) -> Run:
    return make(inputs, Path(run.location), run.summary()["settings"]["model"], **settings)


def content(run: Run) -> dict[str, list]:
    return {one.id: one.codes.tolist() for one in run}


def owners(run: Run) -> set[str]:
    return set(spoken_ids(pa.array([one.id for one in run])).to_pylist())


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once it is called, no file may be listened to."""
    return lambda: monkeypatch.setattr(source_file, "stretches_of", lambda *_: pytest.fail("a file is read again"))


# ---- ids


def test_ids_are_those_of_a_manifest(tmp_path: Path, run: Run) -> None:
    rows = [
        {"path": "talk.flac", "start_s": one.start_s or 0.0, "end_s": one.end_s} for one in run if "tar" not in one.id
    ]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = dry_run(tmp_path / "m.jsonl", tmp_path / "none").first_ids
    assert found == [one.id.replace("call.wav", "talk.flac") for one in run if "tar" not in one.id][:5]


# ---- runs


def test_stretches_are_the_segments_of_a_manifest(run: Run, corpus: Path, tmp_path: Path, small_model: Path) -> None:
    assert owners(run) == {"talk.flac", "call.wav", "s.tar/talk.flac"}
    rows = [
        {"id": one.id, "path": str(corpus / one.id.partition("#")[0]), "start_s": one.start_s, "end_s": one.end_s}
        for one in run
        if "tar" not in one.id
    ]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = make(tmp_path / "m.jsonl", tmp_path / "given", small_model, input__vad="none")
    for one in run:
        twin = given[one.id.removeprefix("s.tar/")]
        assert (one.start_s, one.end_s, one.num_samples) == (twin.start_s, twin.end_s, twin.num_samples)
        np.testing.assert_array_equal(one.codes, twin.codes)
    counts = run.table().select(["id", "stretches"]).to_pylist()
    for id_, stretches in ((row["id"], row["stretches"]) for row in counts):
        assert sum(row["id"].startswith(id_.partition("#")[0]) for row in counts) == stretches
    assert max(row["stretches"] for row in counts) > 1
    assert set(given.table()["stretches"].to_pylist()) == {None}


def test_what_has_no_speech_is_skipped_and_what_is_broken_fails(run: Run) -> None:
    (silent,) = run.skipped().to_pylist()
    assert (silent["id"], silent["stage"], silent["error"]) == ("noise.wav", "skip", "NoSpeech")
    assert "no speech" in silent["message"]
    (failure,) = run.failures().to_pylist()
    assert (failure["id"], failure["error"], failure["stretches"]) == ("no.wav", "NotAudio", None)
    assert run.summary()["counts"]["skipped"] == 1
    assert run.summary()["vad"].startswith("silero-vad ")


def test_two_runs_are_equal_and_sound(run: Run, corpus: Path, tmp_path: Path, small_model: Path) -> None:
    assert content(make(corpus, tmp_path / "twin", small_model)) == content(run)
    report = check(run.location, [str(corpus)], sample=3)
    assert report.problems == []
    assert "3 of 3 sampled" in str(report.checked)


def test_a_rerun_listens_to_nothing(run: Run, corpus: Path, deaf: Callable[[], None]) -> None:
    deaf()
    assert again(run, corpus).summary()["attempts"][-1]["audio_s"] == 0


def test_a_rerun_makes_what_is_missing(run: Run, corpus: Path) -> None:
    before = content(run)
    lost = [next(id_ for id_ in before if id_.startswith(name)) for name in ("talk", "s.tar")]
    drop(Keys(LOCAL, run.location), set(id_hashes(pa.array(lost)).tolist()))
    assert {line.split()[0] for line in check(run.location, [str(corpus)]).problems} >= {"talk.flac", "s.tar/talk.flac"}
    after = again(run, corpus)
    seconds = sum(after[id_].duration_s for id_ in lost)
    assert after.summary()["attempts"][-1]["audio_s"] == pytest.approx(seconds)
    assert content(after) == before
    assert check(run.location, [str(corpus)]).problems == []


@pytest.mark.parametrize("setting", ["none", "another version"])
def test_a_run_keeps_what_finds_its_speech(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    if setting != "none":
        monkeypatch.setattr("pipeline.job.vad_version", lambda vad: "silero-vad 99")
    with pytest.raises(OutputError, match="vad: 'silero-vad"):
        again(run, corpus, **({"input__vad": "none"} if setting == "none" else {}))


def test_a_file_that_changed_is_refused_then_done_anew(corpus: Path, tmp_path: Path, small_model: Path) -> None:
    path = tmp_path / "in" / "a.flac"
    path.parent.mkdir()
    path.write_bytes((corpus / "talk.flac").read_bytes())
    made = make(path.parent, tmp_path / "run", small_model)
    soundfile.write(path, said("pt/telefone.wav"), RATE)
    with pytest.raises(InputError, match=r"'a.flac#.*input.changed"):
        again(made, path.parent)
    anew = again(made, path.parent, input__changed="redo")
    assert content(anew) == content(make(path.parent, tmp_path / "other", small_model))
    assert check(anew.location, [str(path.parent)]).problems == []


def test_failures_are_retried(corpus: Path, tmp_path: Path, small_model: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.flac").write_bytes(b"no audio")
    made = make(tmp_path / "in", tmp_path / "run", small_model)
    assert made.failures()["id"].to_pylist() == ["a.flac"]
    (tmp_path / "in" / "a.flac").write_bytes((corpus / "talk.flac").read_bytes())
    done = retry(made.location, quiet=True)
    assert owners(done) == {"a.flac"}
    assert done.failures().num_rows == 0
    assert check(made.location, [str(tmp_path / "in")]).problems == []


def test_a_file_that_breaks_is_one_failure(corpus: Path, tmp_path: Path, small_model: Path) -> None:
    whole = (corpus / "talk.flac").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cut.flac").write_bytes(whole[: len(whole) * 2 // 3])
    made = make(tmp_path / "in", tmp_path / "run", small_model)
    assert [(row["id"], row["error"]) for row in made.failures().to_pylist()] == [("cut.flac", "TruncatedAudio")]
    assert len(made) == 0


@pytest.mark.parametrize("after", [0, 1])
def test_an_odd_error_fails_what_is_not_heard(
    corpus: Path, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    def odd(*_: object) -> Iterator[Heard]:
        yield from [Heard(0, [(1.0, 2.0)])] * after
        raise KeyError("odd")

    monkeypatch.setattr(source_file, "stretches_of", odd)
    made = make(corpus / "call.wav", tmp_path / "run", small_model, input__channels="split")
    first = ["call.wav#1-2@ch1"] if after else ["call.wav@ch1"]
    found = {row["id"]: row["error"] for row in made.failures().to_pylist()}
    assert found == dict.fromkeys([*first, "call.wav@ch2"], "UnexpectedError")


def test_other_stretches_than_the_committed_ones_are_a_failure(
    corpus: Path, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(corpus / "talk.flac", tmp_path / "run", small_model)
    before = content(made)
    drop(Keys(LOCAL, made.location), set(id_hashes(pa.array(list(before)[:1])).tolist()))
    monkeypatch.setattr(source_file, "stretches_of", lambda *_: iter([Heard(0, [(1.0, 2.0)])]))
    after = again(made, corpus / "talk.flac")
    (failure,) = after.failures().to_pylist()
    assert (failure["id"], failure["error"]) == ("talk.flac", "OtherStretches")
    assert list(content(after)) == list(before)[1:]


# ---- channels


def test_stretches_of_each_channel(corpus: Path, tmp_path: Path, small_model: Path, deaf: Callable[[], None]) -> None:
    files = [corpus / "call.wav", corpus / "no.wav"]
    made = make([*files], tmp_path / "run", small_model, input__channels="split")
    one = make(corpus / "call.wav", tmp_path / "one", small_model, input__channels=1)
    assert [one.channel for one in made] == [1] * len(one)
    assert owners(made) == {"call.wav@ch1"}
    assert [one.id for one in made] == [f"{one.id}@ch1" for one in one]
    before = content(made)
    assert list(before.values()) == list(content(one).values())
    assert [(row["id"], row["channel"]) for row in made.skipped().to_pylist()] == [("call.wav@ch2", 2)]
    assert made.skipped()["source_channels"].to_pylist() == [2]
    assert [(row["id"], row["channel"]) for row in made.failures().to_pylist()] == [("no.wav", 0)]
    assert check(made.location, [str(file) for file in files]).problems == []
    lost = [one.id for one in made][:1]
    drop(Keys(LOCAL, made.location), set(id_hashes(pa.array(lost)).tolist()))
    assert content(again(made, files, input__channels="split")) == before
    deaf()
    assert again(made, files, input__channels="split").summary()["attempts"][-1]["audio_s"] == 0


def test_the_channel_of_a_manifest(corpus: Path, tmp_path: Path, small_model: Path, deaf: Callable[[], None]) -> None:
    rows = [{"path": str(corpus / "call.wav"), "channel": channel, "text": f"{channel}"} for channel in (1, 2, 3)]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    made = make(tmp_path / "m.jsonl", tmp_path / "run", small_model)
    assert owners(made) == {f"{corpus}/call.wav@ch1"}
    assert set(made.table()["text"].to_pylist()) == {"1"}
    assert [row["error"] for row in made.skipped().to_pylist()] == ["NoSpeech"]
    assert [row["error"] for row in made.failures().to_pylist()] == ["NoSuchChannel"]
    assert check(made.location, [str(tmp_path / "m.jsonl")]).problems == []
    deaf()
    assert again(made, tmp_path / "m.jsonl").summary()["attempts"][-1]["audio_s"] == 0


# ---- what is asked for


def test_what_is_not_installed_is_said_before_anything_starts(
    corpus: Path, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "WEIGHTS", "absent.onnx")
    monkeypatch.setattr("pipeline.flow.session", lambda settings: pytest.fail("Ray starts"))
    with pytest.raises(SettingsError, match=r"input.vad=silero needs .* pip install 'silero-vad"):
        make(corpus, tmp_path / "run", small_model)


def test_nodes_need_the_package_only_where_it_is_used(small_model: Path, tmp_path: Path) -> None:
    for settings in ({}, VAD):
        job = prepare(load_settings(None, settings), small_model, str(tmp_path), {"CPU": 2.0}, ("encode",))
        assert ("silero-vad" in job.packages, "onnxruntime" in job.packages) == (bool(settings), bool(settings))


def test_lengths_of_a_dry_run_are_not_those_of_stretches(corpus: Path, tmp_path: Path) -> None:
    for vad in ("none", "silero"):
        settings = {"input.vad": vad, "input.max_s": 2.0}
        assert dry_run(corpus / "call.wav", tmp_path / "none", settings=settings).skipped == (vad == "none")


def test_segments_of_a_manifest_are_refused(corpus: Path, tmp_path: Path, small_model: Path) -> None:
    rows = [{"path": str(corpus / "talk.flac")}, {"path": str(corpus / "talk.flac"), "start_s": 1.0, "end_s": 2.0}]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(InputError, match=r"the times of 1 segment, .*#1-2.*input.vad finds them itself"):
        make(tmp_path / "m.jsonl", tmp_path / "run", small_model)
    assert not (tmp_path / "run").exists()


def test_bounds_are_of_stretches(
    run: Run, corpus: Path, tmp_path: Path, small_model: Path, deaf: Callable[[], None]
) -> None:
    talk = [one for one in open_run(run.location) if one.id.startswith("talk")]
    seconds = sorted(one.end_s - (one.start_s or 0.0) for one in talk)
    assert len(seconds) > 1
    least = (seconds[0] + seconds[-1]) / 2
    made = make(corpus / "talk.flac", tmp_path / "run", small_model, input__min_s=least)
    kept = [one for one in seconds if one >= least]
    assert len(made) == len(kept) < len(seconds)
    assert [row["error"] for row in made.skipped().to_pylist()] == ["Skipped"] * (len(seconds) - len(kept))
    assert all(made.skipped()["stretches"].to_pylist())
    assert check(made.location, [str(corpus / "talk.flac")]).problems == []
    every = again(made, corpus / "talk.flac")
    assert len(every) == len(seconds)
    assert every.skipped().num_rows == 0
    deaf()
    again(made, corpus / "talk.flac")


def test_a_limit_and_shards_are_of_files(corpus: Path, tmp_path: Path, small_model: Path, codec: Codec) -> None:
    model = {"model": str(small_model), "reconstruct": False, "quiet": True, "settings": VAD}
    first = tokenize(corpus, tmp_path / "first", limit=1, **model)
    assert owners(first) == {"call.wav"}
    assert first.summary()["state"] == "limited"
    seen = dry_run(corpus, tmp_path / "first", settings=VAD)
    assert (seen.files, seen.containers, seen.recordings) == (3, {"tar": 1}, None)
    shards = [tokenize(corpus, tmp_path / f"{n}", shard=f"{n}/2", **model) for n in range(2)]
    ids = [one.id for shard in shards for one in shard]
    assert len(ids) == len(set(ids))
    assert set(ids) == {one.id for one in tokenize(corpus, tmp_path / "first", **model)}


@pytest.mark.parametrize("alone", [True, False])
def test_rows_of_parquet(
    corpus: Path, tmp_path: Path, small_model: Path, deaf: Callable[[], None], alone: bool
) -> None:
    audio = [{"bytes": (corpus / name).read_bytes(), "path": None} for name in ("talk.flac", "noise.wav")]
    shard = write_parquet(tmp_path / "p.parquet", audio, text=["said", "not said"])
    given = shard if alone else [shard, corpus / "call.wav"]
    made = make(given, tmp_path / "run", small_model)
    first = "00000000" if alone else "p.parquet/00000000"
    assert first in owners(made)
    assert len(made.skipped()) == 1
    texts = {row["text"] for row in made.table().to_pylist() if row["id"].startswith(first)}
    assert texts == {"said"}
    before = content(made)
    lost = next(id_ for id_ in before if id_.startswith(first))
    drop(Keys(LOCAL, made.location), set(id_hashes(pa.array([lost])).tolist()))
    assert content(again(made, given)) == before
    assert check(made.location, [str(one) for one in (given if isinstance(given, list) else [given])]).problems == []
    deaf()
    again(made, given)


# ---- faults


def disturbed(seed: int, corpus: Path, place: Path, small_model: Path, codec: Codec, **more: object) -> Run:
    """Readers and drivers die, writes come twice and late, until a calm command ends the run."""
    random = np.random.default_rng(seed)
    chaos = Chaos(random, reader_dies=0.2, driver_dies=0.15, written_again=0.3)
    settings = {"chunk__length_s": 0.4, "chunk__context_s": 0.16, "input__task_mb": 0.05, **more}
    for _ in range(4):
        try:
            with without_ray(codec, chaos):
                make(corpus, place, small_model, **settings)
        except DriverKilled:
            continue
    with without_ray(codec, Chaos(random, late=chaos.late)):
        made = make(corpus, place, small_model, **settings)
    assert chaos.faults
    return made


def compared(made: Run, calm: Run, corpus: Path) -> None:
    assert content(made) == content(calm)
    for one, other in ((made.failures(), calm.failures()), (made.skipped(), calm.skipped())):
        assert sorted(one["id"].to_pylist()) == sorted(other["id"].to_pylist())
    assert check(made.location, [str(corpus)]).problems == []
    assert (Path(made.location) / "_SUCCESS").exists()


def test_a_run_that_was_killed_goes_on(corpus: Path, tmp_path: Path, small_model: Path, codec: Codec) -> None:
    made = disturbed(1, corpus, tmp_path / "run", small_model, codec)
    compared(made, make(corpus, tmp_path / "calm", small_model, chunk__length_s=0.4, chunk__context_s=0.16), corpus)


@pytest.mark.slow
@pytest.mark.parametrize("channels", ["mean", "split"])
def test_random_faults(corpus: Path, tmp_path: Path, small_model: Path, codec: Codec, channels: str) -> None:
    cut = {"chunk__length_s": 0.4, "chunk__context_s": 0.16, "input__channels": channels}
    calm = make(corpus, tmp_path / "calm", small_model, **cut)
    for seed in range(4):
        made = disturbed(seed, corpus, tmp_path / f"{seed}", small_model, codec, input__channels=channels)
        compared(made, calm, corpus)
