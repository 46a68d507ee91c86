"""`run.listen`: the original beside the reconstruction, and a sentence for what cannot be read."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pyarrow.fs import LocalFileSystem

from pipeline import load_audio, open_run
from pipeline.run.layout import wave_path
from pipeline.run.listening import Listening
from pipeline.run.reader import Run
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from pipeline.settings import Input, Settings
from tests.helpers.film import film
from tests.helpers.rows import coded_row, run_record, tone
from tests.helpers.shards import AUDIO, write_parquet, write_tar

LOCAL = LocalFileSystem()


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """3 s in stereo at 16 kHz."""
    soundfile.write(tmp_path / "speech.flac", np.stack([tone(2.0), -0.5 * tone(2.0, 1)], 1), 16_000)
    return tmp_path / "speech.flac"


def run_of(folder: Path, samples: int, **columns: object) -> Run:
    """A run of one recording, `a`, with a reconstruction."""
    size = {"source_size": pa.array([None], pa.int64())}
    write_parts(coded_row("a", samples, **{**size, **columns}), LOCAL, str(folder / "run"))
    (folder / "run" / "wav").mkdir()
    soundfile.write(wave_path(str(folder / "run" / "wav"), "a"), tone(samples / 24_000, 2), 24_000)
    return open_run(folder / "run")


def heard(found: Listening) -> tuple[bool, bool]:
    """What there is to hear: original, reconstruction."""
    return found.original is not None, found.reconstruction is not None


def test_both(tmp_path: Path, speech: Path) -> None:
    run = run_of(tmp_path, 24_000, source=str(speech), start_s=1.0, end_s=2.0, channel=pa.array([2], pa.int32()))
    found = run.listen("a")
    assert np.array_equal(found.original, load_audio(speech, 2, 1.0, 2.0))
    assert np.array_equal(found.reconstruction, soundfile.read(run["a"].wave, dtype="float32")[0])
    assert found.problems == ()
    assert found._repr_html_().count("<audio") == 2


def test_a_source_that_is_gone(tmp_path: Path, speech: Path) -> None:
    run = run_of(tmp_path, 24_000, source=str(tmp_path / "gone.flac"))
    found = run.listen("a")
    assert heard(found) == (False, True)
    assert found.problems == (f"The original cannot be read: {tmp_path}/gone.flac: no such file or folder",)
    assert found.problems[0] in found._repr_html_()
    assert np.array_equal(run.listen("a", original=speech).original, load_audio(speech))


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_a_source_in_a_container(kind: str, tmp_path: Path, speech: Path) -> None:
    members = {"a.flac": b"", "b.flac": speech.read_bytes()}
    if kind == "tar":
        write_tar(tmp_path / "x.tar", list(members.items()))
    elif kind == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
    else:
        given = [{"bytes": data, "path": name} for name, data in members.items()]
        write_parquet(tmp_path / "x.parquet", [None, None], speech=pa.array(given, AUDIO))
    shard, name = tmp_path / f"x.{kind}", "row 1" if kind == "parquet" else "b.flac"
    run = run_of(tmp_path, 24_000, source=f"{shard}::{name}", channel=pa.array([2], pa.int32()))
    settings = Settings(input=Input(column="speech")).model_dump(mode="json")
    (tmp_path / "run" / "run.json").write_text(json.dumps(run_record(settings=settings)))
    found = run.listen("a")
    assert found.problems == ()
    assert np.array_equal(found.original, load_audio(speech, 2))
    shard.rename(tmp_path / f"y.{kind}")
    assert heard(run.listen("a")) == (False, True)
    if kind != "parquet":
        moved = run.listen("a", original=f"{tmp_path}/y.{kind}::c.flac")
        assert moved.problems == (f"The original cannot be read: {tmp_path}/y.{kind} holds no c.flac any more",)


def test_the_original_is_read_as_the_run_read_it(tmp_path: Path) -> None:
    """Another track, and the beginning of a file that is cut off."""
    (tmp_path / "film.mkv").write_bytes(film("matroska", "flac"))
    run = run_of(tmp_path, 24_000, source=str(tmp_path / "film.mkv"))
    assert np.abs(run.listen("a").original).max() < 0.01
    settings = Settings(input=Input(track=2, allow_truncated=True)).model_dump(mode="json")
    save(LOCAL, run.path, run_record(settings=settings))
    assert np.abs(run.listen("a").original).max() > 0.3
    cut = (tmp_path / "film.mkv").read_bytes()[:-2000]
    (tmp_path / "film.mkv").write_bytes(cut)
    assert np.abs(run.listen("a").original).max() > 0.3
    assert run.listen("a", original=(tone(1.0), 24_000)).original is not None  # an array has no tracks


def test_a_source_of_another_size_is_not_taken_for_the_original(tmp_path: Path, speech: Path) -> None:
    run = run_of(tmp_path, 24_000, source=str(speech), source_size=speech.stat().st_size)
    assert heard(run.listen("a")) == (True, True)
    soundfile.write(speech, np.zeros(48_000), 16_000)
    found = run.listen("a")
    assert heard(found) == (False, True)
    assert "speech.flac has changed since the run: it has" in found.problems[0]
    assert heard(run.listen("a", original=str(speech))) == (True, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"RIFF" + bytes(100), "Its reconstruction is damaged: `voxmill check RUN --repair` deletes it"),
        (None, "No reconstruction is kept: the command that made the run, with reconstruct=True, makes it"),
    ],
)
def test_a_reconstruction_that_is_not_there(tmp_path: Path, speech: Path, content: bytes | None, says: str) -> None:
    run = run_of(tmp_path, 24_000, source=str(speech))
    wave = Path(str(run["a"].wave))
    wave.unlink() if content is None else wave.write_bytes(content)
    found = run.listen("a")
    assert heard(found) == (True, False)
    assert says in found.problems[0]
    assert says in run["a"]._repr_html_()


def test_no_such_recording(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="holds no whole recording 'b'; its ids begin with \\['a'\\]"):
        run_of(tmp_path, 1920).listen("b")


@pytest.mark.parametrize("names", [("a::b.flac", None), ("x::y.TAR", "c.flac"), ("x.tar", "speaker::1::c.flac")])
def test_names_with_the_mark_of_a_container(tmp_path: Path, speech: Path, names: tuple[str, str | None]) -> None:
    file, member = names
    if member:
        write_tar(tmp_path / file, [("other.flac", b""), (member, speech.read_bytes())])
    else:
        speech.rename(tmp_path / file)
    source = tmp_path / file
    run = run_of(
        tmp_path, 48_000, source=f"{source}::{member}" if member else str(source), source_size=source.stat().st_size
    )
    found = run.listen("a")
    assert found.problems == ()
    assert found.original is not None
    source.write_bytes(b"")
    assert "has changed since the run" in run.listen("a").problems[0]
