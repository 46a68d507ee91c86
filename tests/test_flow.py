"""The main job end to end, on a real local Ray with a small random checkpoint."""

import contextlib
import json
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import librosa
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import soundfile
from pyarrow.fs import LocalFileSystem
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback

from actors.codec import Codec
from actors.contract import FRAME_SAMPLES, frame_count
from pipeline import open_run, tokenize
from pipeline.cli.demo import CLIPS
from pipeline.cli.show import result_text
from pipeline.errors import InputError, OutputError
from pipeline.reconstruct import decode
from pipeline.run.claims import BEAT
from pipeline.run.lock import locked
from pipeline.run.reader import Run
from pipeline.verify.check import check
from tests.helpers.commands import voxmill
from tests.helpers.rows import tone

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu", precision="fp32")


class Kept(ExecutionCallback):
    """How many statistics of blocks Ray keeps, by operator, once all is done."""

    statistics: ClassVar[dict[str, int]] = {}

    def after_execution_succeeds(self, executor: Any) -> None:
        for operator in executor._topology:
            if hasattr(operator, "_output_blocks_stats"):
                self.statistics[operator.name] = len(operator._output_blocks_stats)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_model: Path, local_ray: None) -> Run:
    """The bundled clips, tokenized and reconstructed."""
    callbacks = DataContext.get_current().custom_execution_callback_classes
    callbacks.append(Kept)
    try:
        return tokenize(CLIPS, tmp_path_factory.mktemp("clips") / "run", model=str(small_model), quiet=True)
    finally:
        callbacks.remove(Kept)


def test_the_driver_keeps_nothing_of_blocks_that_are_done(run: Run) -> None:
    assert len(Kept.statistics) >= 4  # read, encode, decode, write
    assert not any(Kept.statistics.values())


def test_a_local_ray_runs_nothing_that_only_clusters_need(run: Run) -> None:
    assert ray.util.list_named_actors(all_namespaces=True) == []  # Ray Data's have names
    folder = Path(ray._private.worker._global_node.get_session_dir_path()).parent
    scripts = {Path(word).name for command in commands(str(folder)) for word in command[:3] if word.endswith(".py")}
    assert "idle_agent.py" in scripts  # it lives as long as the raylet
    assert not scripts & {"agent.py", "dashboard.py", "log_monitor.py", "main.py", "monitor.py"}


def commands(word: str) -> Iterator[list[str]]:
    """The words of every live process' command in which `word` is."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if word in (command := file.read_text(errors="replace")):
                yield command.split("\0")


def same_codes(one: Run, other: Run) -> bool:
    """Equal codes for equal ids, except for float ties."""
    ours, theirs = ({r.id: r.codes for r in run} for run in (one, other))
    assert ours.keys() == theirs.keys()
    return all(np.mean(ours[id_] == theirs[id_]) > 0.9999 for id_ in ours)


def test_every_clip_is_in_codes_or_failures(run: Run) -> None:
    files = {str(path.relative_to(CLIPS)) for path in CLIPS.rglob("*.*")}
    found = {recording.id for recording in run}
    assert found | set(run.failures()["id"].to_pylist()) == files
    assert run.failures().to_pylist()[0]["id"] == "it/broken.flac"
    assert run.failures()["error"].to_pylist() == ["TruncatedAudio"]
    counts = run.summary()["counts"]
    assert (counts["recordings"], counts["failures"], counts["chunks"]) == (7, 1, 7)


def test_tasks_on_ray_check_as_threads_do(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    real = ray.put
    monkeypatch.setattr(ray, "put", lambda value: sent.append("a function") or real(value))
    shutil.copytree(run.location, tmp_path / "torn")
    (part,) = (tmp_path / "torn" / "codes").iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    for location in (run.location, tmp_path / "torn"):
        by_tasks, by_threads = check(location, [str(CLIPS)], ray_address="auto"), check(location, [str(CLIPS)])
        assert (by_tasks.problems, by_tasks.checked) == (by_threads.problems, by_threads.checked)
        assert bool(by_threads.problems) == (location != run.location)
    assert sent  # the tasks were of Ray


def test_codes_are_the_codecs_own(run: Run, codec: Codec) -> None:
    for recording in run:
        if recording.id.endswith(".m4a"):
            continue  # librosa does not read it
        wave, _ = librosa.load(CLIPS / recording.id, sr=24_000, mono=True)
        assert recording.num_samples == len(wave)
        assert recording.codes.shape == (frame_count(len(wave)), 16)
        assert np.mean(recording.codes == codec.encode([wave])[0]) > 0.9999


def test_waves_are_the_codecs_own(run: Run, codec: Codec) -> None:
    for recording in run:
        assert recording.wave is not None
        wave, rate = soundfile.read(recording.wave, dtype="float32")
        assert (rate, len(wave)) == (24_000, recording.num_samples)
        expected = codec.decode([recording.codes])[0][: len(wave)]
        assert np.abs(wave - expected).max() < 2e-4


def test_run_json_says_what_was_done(run: Run, small_model: Path) -> None:
    summary = run.summary()
    assert summary["state"] == "complete"
    assert summary["model"]["id"] == str(small_model)
    assert len(summary["model"]["sha256"]) == 64
    assert (summary["attention"], summary["precision"], summary["device"]) == ("full", "fp32", "cpu")
    assert summary["versions"]["ray"].startswith("2.60")
    assert summary["parts"].keys() == {path.name for path in Path(run.location, "codes").iterdir()}
    assert summary["counts"]["frames"] == sum(len(recording.codes) for recording in run)
    (attempt,) = summary["attempts"]
    assert attempt["stages"].keys() == {"read", "encode", "decode", "waves", "write"}
    for stage in attempt["stages"].values():
        assert stage["audio_s"] == pytest.approx(attempt["audio_s"], abs=0.01)
        assert stage["busy_s"] > 0
        assert stage["peak_memory_mb"] > 50
    assert 0 < attempt["stages"]["read"]["resample_s"] < attempt["stages"]["read"]["busy_s"]


@pytest.mark.slow
def test_a_rerun_does_only_what_is_missing(tmp_path: Path, small_model: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    shutil.copy(CLIPS / "en" / "frames.wav", corpus / "a.wav")
    options = {"model": str(small_model), "reconstruct": False, "quiet": True}
    first = tokenize(corpus, tmp_path / "run", **options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "codes").iterdir()}
    assert not (tmp_path / "run" / "wav").exists()
    shutil.copy(CLIPS / "pt" / "telefone.wav", corpus / "b.wav")
    second = tokenize(corpus, tmp_path / "run", **options)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "codes").iterdir()}
    assert before.items() < after.items()
    assert (len(first), len(second)) == (1, 2)
    third = tokenize(corpus, tmp_path / "run", **options | {"reconstruct": True})
    assert third.summary()["attempts"][-1]["wall_s"] > 0.1  # nothing was read, but they took their time
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "codes").iterdir()} == after
    assert len(third.summary()["attempts"]) == 3
    for recording in third:  # reconstructions that were not asked for before are made from the codes
        assert soundfile.info(str(recording.wave)).frames == recording.num_samples
    with pytest.raises(OutputError, match="attention"):
        tokenize(corpus, tmp_path / "run", attention="window", **options)
    with pytest.raises(OutputError, match="track: None there, 2 now"):
        tokenize(corpus, tmp_path / "run", settings={"input.track": 2}, **options)


@pytest.mark.usefixtures("runs_in_process")
def test_tar_parquet_and_manifest_give_the_same_codes(tmp_path: Path, small_model: Path, run: Run) -> None:
    paths = sorted(path for path in CLIPS.rglob("*.*") if path.name != "broken.flac")
    ids = [str(path.relative_to(CLIPS)) for path in paths]
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path, id_ in zip(paths, ids, strict=True):
            tar.add(path, id_)
    audio = [{"bytes": path.read_bytes(), "path": id_} for path, id_ in zip(paths, ids, strict=True)]
    pq.write_table(pa.table({"audio": audio, "speaker": pa.array(range(7), pa.int8())}), tmp_path / "shard.parquet")
    lines = [
        {"id": id_, "path": str(path), "text": id_.upper(), "n": n}
        for n, (path, id_) in enumerate(zip(paths, ids, strict=True))
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {"model": str(small_model), "reconstruct": False, "quiet": True}
    runs = {
        name: tokenize(tmp_path / name, tmp_path / f"run-{name}", **options)
        for name in ("shard.tar", "shard.parquet", "list.jsonl")
    }
    assert all(same_codes(run, other) for other in runs.values())
    assert runs["shard.parquet"][ids[3]].carried == {"speaker": 3}
    assert runs["shard.parquet"].table().schema.field("speaker").type == pa.int8()
    assert runs["list.jsonl"][ids[2]].carried == {"text": ids[2].upper(), "n": 2}


@pytest.mark.usefixtures("runs_in_process")
def test_inputs_that_changed_between_two_commands(tmp_path: Path, small_model: Path) -> None:
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    corpus.mkdir()
    settings = {"chunk.length_s": 1, "chunk.context_s": 1, "output.rows_per_part": 1}
    options = {"model": str(small_model), "reconstruct": False, "quiet": True}
    for name in ("a", "b", "long"):
        soundfile.write(corpus / f"{name}.wav", tone(3.0 if name == "long" else 0.5), 24_000)
    before = tokenize(corpus, run, settings=settings, **options)
    codes = {recording.id: recording.codes for recording in before}
    next(path for path in (run / "codes").iterdir() if "long.wav" in pq.read_table(path)["id"].to_pylist()).unlink()
    soundfile.write(corpus / "a.wav", tone(0.7), 24_000)
    soundfile.write(corpus / "long.wav", tone(3.0, seed=5), 24_000)
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"2 recordings .*'a.wav' was read from .*changed=keep"):
        tokenize(corpus, run, settings=settings, **options)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept
    after = tokenize(corpus, run, settings=settings | {"input.changed": "keep"}, **options)
    assert np.array_equal(after["a.wav"].codes, codes["a.wav"])
    assert not np.array_equal(after["long.wav"].codes, codes["long.wav"])  # never half of one and half of the other
    again = tokenize(corpus, run, settings=settings | {"input.changed": "redo"}, **options)
    assert again["a.wav"].num_samples == round(0.7 * 24_000)
    assert np.array_equal(again["b.wav"].codes, codes["b.wav"])
    fresh = tokenize(corpus, tmp_path / "fresh", settings=settings, **options)
    assert same_codes(again, fresh)
    assert check(str(run), [str(corpus)]).problems == []


@pytest.mark.slow
def test_codes_that_cannot_be_decoded_are_kept(tmp_path: Path, small_model: Path) -> None:
    from tests.helpers.faults.codecs import instead_of_codecs, mute

    soundfile.write(tmp_path / "short.wav", tone(0.5), 24_000)
    soundfile.write(tmp_path / "good.wav", tone(2.0), 24_000)
    with instead_of_codecs(mute):
        run = tokenize(
            [tmp_path / "short.wav", tmp_path / "good.wav"], tmp_path / "run", model=str(small_model), quiet=True
        )
    assert sorted(recording.id for recording in run) == ["good.wav", "short.wav"]
    assert len(run.failures()) == 0
    assert run["good.wav"].wave is not None
    assert run["short.wav"].wave is not None  # made at the end, by a codec that decodes it


@pytest.mark.slow
def test_a_long_recording_in_chunks_equals_one_call(tmp_path: Path, small_model: Path) -> None:
    wave = tone(70.0)
    soundfile.write(tmp_path / "long.flac", wave, 24_000)
    wave, _ = soundfile.read(tmp_path / "long.flac", dtype="float32")
    options = {"model": str(small_model), "attention": "window", "settings": {"chunk.length_s": 24}, "quiet": True}
    run = tokenize(tmp_path / "long.flac", tmp_path / "run", **options)
    codec = Codec.load(str(small_model), device="cpu", precision="fp32", attention="window")
    whole = codec.encode([wave])[0]
    recording = run["long.flac"]
    assert run.table(["chunk", "chunks", "first_frame"]).sort_by("chunk").to_pydict() == {
        "chunk": [0, 1, 2],
        "chunks": [3, 3, 3],
        "first_frame": [0, 300, 600],
    }
    assert np.mean(recording.codes == whole) > 0.999
    assert recording.wave is not None
    decoded, _ = soundfile.read(recording.wave, dtype="float32")
    assert len(decoded) == len(wave)
    expected = codec.decode([recording.codes])[0][: len(wave)]
    assert np.abs(decoded - expected).max() < 1e-3
    assert sorted(os.listdir(tmp_path / "run" / "wav")) == ["long.flac.wav"]


@pytest.mark.usefixtures("runs_in_process")
def test_a_long_recording_goes_on_where_it_stopped(tmp_path: Path, small_model: Path) -> None:
    """First read by one task, then by several that share it: the codes are the same."""
    soundfile.write(tmp_path / "long.wav", tone(9.0), 44_100)
    settings = {"chunk.length_s": 1, "chunk.context_s": 1, "output.rows_per_part": 1, "input.readers": 1}
    options = {"model": str(small_model), "settings": settings, "reconstruct": False, "quiet": True}
    whole = tokenize(tmp_path / "long.wav", tmp_path / "run", **options)["long.wav"].codes
    for lost in sorted((tmp_path / "run" / "codes").iterdir())[::2]:
        lost.unlink()
    settings |= {"input.readers": 2, "input.task_mb": 0.1}  # of 0.4
    assert "long.wav" not in open_run(tmp_path / "run")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "codes").iterdir()}
    again = tokenize(tmp_path / "long.wav", tmp_path / "run", **options)
    assert np.array_equal(again["long.wav"].codes, whole)
    assert {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "codes").iterdir()
    }.items() > kept.items()


@pytest.mark.usefixtures("runs_in_process")
def test_bad_recordings_are_failures_with_reasons(tmp_path: Path, small_model: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(corpus / "good.wav", tone(1.0), 24_000)
    soundfile.write(corpus / "empty.wav", np.empty(0, np.float32), 24_000)
    soundfile.write(corpus / "nan.wav", np.full(100, np.nan, np.float32), 24_000, subtype="FLOAT")
    (corpus / "text.wav").write_text("not audio at all")
    (corpus / "cut.wav").write_bytes((corpus / "good.wav").read_bytes()[:-1000])
    (corpus / "notes.md").write_text("passed over")
    run = tokenize(corpus, tmp_path / "run", model=str(small_model), reconstruct=False, quiet=True)
    errors = dict(zip(run.failures()["id"].to_pylist(), run.failures()["error"].to_pylist(), strict=True))
    assert errors == {
        "empty.wav": "EmptyAudio",
        "nan.wav": "NonFiniteAudio",
        "text.wav": "NotAudio",
        "cut.wav": "TruncatedAudio",
    }
    assert [recording.id for recording in run] == ["good.wav"]
    assert run.summary()["counts"]["passed_over"] == 1
    assert run.summary()["passed_over"] == {".md": 1}
    assert "passed over  1 .md" in result_text(run)


def test_decode_gives_the_waves_of_the_run(tmp_path: Path, run: Run) -> None:
    ids = ("--id", "en/frames.wav", "--id", "fr/parole.ogg")
    assert voxmill("decode", run.location, "--out", tmp_path / "waves", *ids) == 0
    for id_ in ("en/frames.wav", "fr/parole.ogg"):
        again, _ = soundfile.read(tmp_path / "waves" / f"{id_}.wav", dtype="int16")
        first, _ = soundfile.read(str(run[id_].wave), dtype="int16")
        assert np.abs(again.astype(int) - first).max() <= 1  # other threads round floats differently
    with pytest.raises(InputError, match=f"^{run.location} has no codes of 'nobody'"):
        decode(run, tmp_path / "waves", ids=["nobody"])


@pytest.mark.slow
def test_decode_cuts_long_recordings_without_a_seam(tmp_path: Path, run: Run, codec: Codec) -> None:
    from actors.pools.arrow import codes_array
    from tests.helpers.rows import coded_row, codes_of

    frames = 400
    codes = codes_of(frames, seed=3)
    row = coded_row("long", frames * FRAME_SAMPLES - 5, codes=codes_array([codes]))
    pq.write_table(row.drop_columns(["stage", "error", "message"]), tmp_path / "codes.parquet")
    options = {"model": run.summary()["model"]["id"], "settings": {"chunk.length_s": 10}}
    decoded = decode(tmp_path / "codes.parquet", tmp_path / "waves", **options)
    assert decoded.waves == 1
    wave, _ = soundfile.read(tmp_path / "waves" / "long.wav", dtype="float32")
    expected = codec.decode([codes])[0][: len(wave)]
    assert len(wave) == frames * FRAME_SAMPLES - 5
    assert np.abs(wave - expected).max() < 1e-3


@pytest.mark.usefixtures("runs_in_process")
def test_overwrite_starts_anew(tmp_path: Path, small_model: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), 24_000)
    options = {"model": str(small_model), "reconstruct": False, "quiet": True}
    tokenize(tmp_path / "a.wav", tmp_path / "run", **options)
    with pytest.raises(OutputError, match="attention"):
        tokenize(tmp_path / "a.wav", tmp_path / "run", attention="window", **options)
    with pytest.raises(InputError, match="mistyped"):
        tokenize(tmp_path / "mistyped.wav", tmp_path / "run", attention="window", overwrite=True, **options)
    assert [recording.id for recording in open_run(tmp_path / "run")] == ["a.wav"]
    run = tokenize(tmp_path / "a.wav", tmp_path / "run", attention="window", overwrite=True, **options)
    assert run.summary()["attention"] == "window"
    assert len(run.summary()["attempts"]) == 1


@pytest.mark.slow
def test_a_run_that_another_process_took_over_stops(tmp_path: Path, small_model: Path) -> None:
    out = tmp_path / "run"
    over, kept = threading.Event(), []

    def take_over() -> None:
        """What a process on another machine does that saw no heartbeat."""
        while not list(out.glob("codes/part-*")):
            time.sleep(0.01)
        next(path for path in out.glob(".lock.*") if not path.name.endswith(BEAT)).unlink()
        with locked(LocalFileSystem(), str(out)) as lock:
            over.wait(60)
            lock.check()
            kept.append(lock)

    other = threading.Thread(target=take_over)
    other.start()
    settings = {"output.rows_per_part": 1, "input.task_mb": 0.1}
    with pytest.raises(OutputError, match=r"Another voxmill.* took this run over"):
        tokenize(CLIPS, out, model=str(small_model), reconstruct=False, quiet=True, settings=settings)
    over.set()
    other.join()
    assert kept  # the other's lock was left alone
    assert json.loads((out / "run.json").read_text())["state"] == "running"
    assert not (out / "_SUCCESS").exists()
    done = tokenize(CLIPS, out, model=str(small_model), reconstruct=False, quiet=True, settings=settings)
    assert len(done) == 7
    assert not list(out.glob(".*"))
