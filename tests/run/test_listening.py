"""`run.listen`: the original beside the reconstruction, and a sentence for what cannot be read."""

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
from pipeline.run.write import write_parts
from tests.helpers.rows import coded_row, tone

LOCAL = LocalFileSystem()


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """3 s in stereo at 16 kHz."""
    soundfile.write(tmp_path / "speech.flac", np.stack([tone(2.0), -0.5 * tone(2.0, 1)], 1), 16_000)
    return tmp_path / "speech.flac"


def run_of(folder: Path, samples: int, **columns: object) -> Run:
    """A run of one recording, `a`, with a reconstruction."""
    write_parts(coded_row("a", samples, **columns), LOCAL, str(folder / "run"))
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


def test_a_source_in_a_container(tmp_path: Path) -> None:
    found = run_of(tmp_path, 24_000, source="/corpus/shard.tar::a.wav").listen("a")
    assert heard(found) == (False, True)
    assert (
        "lies inside a container, /corpus/shard.tar::a.wav. Give it as a file: run.listen(id, original=FILE)"
        in (found.problems[0])
    )


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
    with pytest.raises(KeyError, match="has no codes"):
        run_of(tmp_path, 1920).listen("b")
