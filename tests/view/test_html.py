"""What a notebook shows: whole HTML, all text escaped, pictures and sound that can be decoded, a bounded size."""

import base64
import dataclasses
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
from PIL import Image
from pyarrow.fs import LocalFileSystem

from pipeline import open_run
from pipeline.run.layout import wave_path
from pipeline.run.lock import locked
from pipeline.run.process import this_process
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from tests.helpers.rows import coded_row, failed_row, run_record, tone

LOCAL = LocalFileSystem()
HOSTILE = "<script>alert('1')</script>\"><b>&amp;"
VOID = {"img", "br"}


class Tags(HTMLParser):
    """Names of all elements, and the text outside of them. AssertionError for one that is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def embedded(page: str, kind: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(rf'src="data:{kind};base64,([^"]*)"', page)]


def say(run: Path, id_: str, wave: np.ndarray) -> None:
    """Put a reconstruction where a run keeps it."""
    path = Path(wave_path(str(run / "wav"), id_))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 24_000)


def test_a_recording(tmp_path: Path) -> None:
    wave = tone(2.0)
    write_parts(coded_row("a", len(wave), speaker=pa.array(["anna"])), LOCAL, str(tmp_path))
    say(tmp_path, "a", wave)
    page = open_run(tmp_path)["a"]._repr_html_()
    tags = Tags(page)
    said = ("2.00 s, 16,000 Hz, 1 channel", "int16 [25, 16]", "anna", "a player, where the notebook is opened")
    assert all(text in tags.text for text in said)
    (sound,) = embedded(page, "audio/flac")
    stored, _ = soundfile.read(tmp_path / "wav" / "a.wav", dtype="int16")
    assert np.array_equal(soundfile.read(io.BytesIO(sound), dtype="int16")[0], stored)
    (picture,) = embedded(page, "image/png")
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"))
    assert pixels[0, 0, 3] == 0  # no background: the page's own, light or dark
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 50
    assert "The first" not in tags.text


def test_a_long_recording_shows_its_beginning(tmp_path: Path) -> None:
    wave = tone(20.0)
    write_parts(coded_row("a", len(wave)), LOCAL, str(tmp_path))
    say(tmp_path, "a", wave)
    run = open_run(tmp_path)
    for page in (run["a"]._repr_html_(), run.listen("a", original=(wave, 24_000))._repr_html_()):
        assert "The first 15 of 20.0 s." in Tags(page).text
        assert len(page) < 2_000_000  # of noise; of speech half
        assert all(soundfile.info(io.BytesIO(sound)).duration == 15 for sound in embedded(page, "audio/flac"))


def test_without_a_reconstruction(tmp_path: Path) -> None:
    write_parts(coded_row("a", 1), LOCAL, str(tmp_path))  # a frame, of which one sample is audio
    tags = Tags(open_run(tmp_path)["a"]._repr_html_())
    assert "No reconstruction is kept" in tags.text
    assert (tags.names.count("audio"), tags.names.count("img")) == (0, 1)


def test_a_silent_sample(tmp_path: Path) -> None:
    write_parts(coded_row("a", 1), LOCAL, str(tmp_path))
    say(tmp_path, "a", np.zeros(1, np.float32))
    assert len(embedded(open_run(tmp_path)["a"]._repr_html_(), "image/png")) == 1


def test_a_run(tmp_path: Path) -> None:
    far = pa.array([2**62], pa.timestamp("us"))  # that Python cannot hold
    rows = [coded_row(f"{number}.wav", 2400, recorded=far) for number in range(9)]
    failed = [failed_row("x", "NotAudio"), failed_row("y", "TruncatedAudio"), failed_row("z", "TruncatedAudio")]
    write_parts(pa.concat_tables([*rows, *failed], promote_options="permissive"), LOCAL, str(tmp_path))
    counts = {"recordings": 9, "failures": 3, "frames": 18, "audio_s": 0.9, "skipped": 0}
    save(LOCAL, str(tmp_path), run_record(counts=counts, warnings=["low <agreement>"], agreement_with_fp32=[0.5] * 16))
    tags = Tags(open_run(tmp_path)._repr_html_())
    for said in (
        "complete",
        "0.9 s",
        "1.0 times real time",
        "demo, sha256 000000000000",
        "low <agreement>",
        "50.00%",
        "out of range",
    ):
        assert said in tags.text
    assert tags.text.index("TruncatedAudio") < tags.text.index("NotAudio")  # the most frequent reason comes first
    assert ("y is broken" in tags.text, "z is broken" in tags.text) == (True, False)
    assert ("4.wav" in tags.text, "5.wav" in tags.text) == (True, False)


def test_an_empty_run(tmp_path: Path) -> None:
    save(LOCAL, str(tmp_path), run_record(state="running", attempts=[]))
    assert "stopped" in Tags(open_run(tmp_path)._repr_html_()).text
    dead = dataclasses.replace(this_process(), pid=2**22 + 1)  # Linux has none that is higher than 2^22
    (tmp_path / ".lock.killed").write_text(json.dumps(dead.json()))
    if sys.platform == "linux":  # elsewhere only its heartbeat could tell
        assert "stopped" in Tags(open_run(tmp_path)._repr_html_()).text
    with locked(LOCAL, str(tmp_path)):
        assert "running" in Tags(open_run(tmp_path)._repr_html_()).text


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    texts = {"source": pa.array([HOSTILE]), HOSTILE: pa.array([HOSTILE * 100])}
    failed = failed_row(HOSTILE, HOSTILE)
    write_parts(coded_row(HOSTILE, 1920, **texts), LOCAL, str(tmp_path))
    write_parts(failed, LOCAL, str(tmp_path))
    save(LOCAL, str(tmp_path), run_record(model={"id": HOSTILE, "revision": None, "sha256": "0"}, device=HOSTILE))
    say(tmp_path, HOSTILE, tone(0.1))
    run = open_run(tmp_path)
    for page in (run._repr_html_(), run[HOSTILE]._repr_html_(), run.listen(HOSTILE)._repr_html_()):
        tags = Tags(page)
        assert set(tags.names) <= {"div", "b", "br", "table", "thead", "tbody", "tr", "th", "td", "audio", "img"}
        assert "<script>alert('1')</script>\"><b>&amp;" in tags.text
        assert page.count("<b>") == 1
        assert HOSTILE * 20 not in tags.text
