"""Reconstructions in shards, end to end on a real local Ray: made, decoded again, repaired, read over S3."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import webdataset
from pyarrow.fs import LocalFileSystem

from pipeline import tokenize
from pipeline.cli.demo import CLIPS
from pipeline.cli.show import recording_json
from pipeline.errors import ClusterError, InputError, OutputError
from pipeline.reconstruct import decode
from pipeline.run.layout import FILES, id_of_key
from pipeline.run.reader import Run
from pipeline.verify.check import check
from pipeline.verify.repair import repair
from pipeline.waves import _write

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.slow]
TAR = {"output.waves": "tar", "chunk.length_s": 2.4, "chunk.context_s": 0.8}


def from_shards(folder: Path) -> dict[str, np.ndarray]:
    """Every wave that WebDataset reads from the shards of a folder, once, by id."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.tar")):
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            id_ = id_of_key(sample["__key__"])
            assert id_ not in found
            found[id_] = soundfile.read(io.BytesIO(sample.get("wav") or sample["flac"]), dtype="int16")[0]
    return found


def from_run(run: Run) -> dict[str, np.ndarray]:
    """The same through `open_run`."""
    return {recording.id: soundfile.read(recording.wave, dtype="int16")[0] for recording in run}


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[id_], other[id_]) for id_ in one)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, of which one has two chunks of 2.4 s."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("en/frames.wav", "fr/parole.ogg", "pt/telefone.wav"):
        wave, rate = soundfile.read(CLIPS / name)
        soundfile.write(folder / f"{Path(name).stem}.wav", wave[: round(2.0 * rate)], rate)
    wave, rate = soundfile.read(CLIPS / "en/frames.wav")
    soundfile.write(folder / "long.wav", np.tile(wave, 9)[: round(4.0 * rate)], rate)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_model: Path, corpus: Path, local_ray: None) -> Run:
    """The corpus with a WAV each."""
    settings = {**TAR, "output.waves": "files"}
    out = tmp_path_factory.mktemp("files") / "run"
    return tokenize(corpus, out, model=str(small_model), settings=settings, quiet=True)


def test_shards_hold_what_files_hold(tmp_path: Path, small_model: Path, corpus: Path, files: Run) -> None:
    """Then a shard is lost: check says so, repair and the same command make it again, from the codes."""
    out, same = tmp_path / "run", {"model": str(small_model), "quiet": True}
    settings = {**TAR, "output.wave_format": "flac"}
    run = tokenize(corpus, out, settings=settings, **same)
    expected = from_run(files)
    assert len(expected["long.wav"]) == run["long.wav"].num_samples > 2.4 * 24_000
    assert equal(from_run(run), expected)
    assert equal(from_shards(out / "wav"), expected)
    shards, parts = {path.stem for path in (out / "wav").iterdir()}, {path.stem for path in (out / "codes").iterdir()}
    assert len([name for name in shards - parts if name.startswith("long-")]) == 1
    assert len(shards - parts) == 1
    assert check(out, [str(corpus)]).problems == []
    with pytest.raises(OutputError, match="delete wav/"):
        tokenize(corpus, out, settings={**settings, "output.waves": "files"}, **same)
    lost = next(path for path in (out / "wav").iterdir() if path.stem in parts)
    lost.unlink()
    assert any("holds no wave of" in line for line in check(out).problems)
    assert repair(out)
    before = {path: path.stat().st_mtime_ns for path in (out / "codes").iterdir()}
    again = tokenize(corpus, out, settings=settings, **same)
    assert {path: path.stat().st_mtime_ns for path in (out / "codes").iterdir()} == before
    assert equal(from_run(again), expected)
    assert equal(from_shards(out / "wav"), expected)
    assert check(out).problems == []


@pytest.mark.usefixtures("runs_in_process")
def test_waves_in_shards_have_names(files: Run, tmp_path: Path, small_model: Path, corpus: Path) -> None:
    run = tokenize(corpus, tmp_path / "run", model=str(small_model), settings=TAR)
    assert recording_json(run, "long.wav")["wave"].partition("::")[2] == "long%2Ewav.wav"
    assert recording_json(files, "long.wav")["wave"] == files["long.wav"].wave


def test_a_node_that_does_not_see_the_folder_of_waves_writes_none(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"does not see the folder {tmp_path}/out"):
        _write(pa.table({}), LocalFileSystem(), f"{tmp_path}/out", FILES)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("runs_in_process")
def test_a_run_without_codes_has_nothing_to_decode(tmp_path: Path, small_model: Path) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    tokenize(tmp_path / "bad.wav", tmp_path / "run", model=str(small_model))
    with pytest.raises(InputError, match="run has no recordings with codes to decode"):
        decode(tmp_path / "run", tmp_path / "waves")


def test_decode_writes_shards_and_the_newest_wave_stays(tmp_path: Path, small_model: Path, files: Run) -> None:
    one = decode(files.location, tmp_path / "out", ids=["long.wav", "frames.wav"], settings=TAR)
    every = decode(files.location, tmp_path / "out", settings=TAR)
    assert (one.waves, every.waves, every.failures) == (2, 4, [])
    found = from_shards(tmp_path / "out")
    assert found.keys() == {recording.id for recording in files}
    for id_, wave in found.items():
        expected, _ = soundfile.read(str(files[id_].wave), dtype="int16")
        assert np.abs(wave.astype(int) - expected).max() <= 1  # other rows in a call: another last bit
    assert not [*(tmp_path / "out").glob("*.wav"), *(tmp_path / "out").glob(".*")]
