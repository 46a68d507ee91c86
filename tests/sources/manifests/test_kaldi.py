"""Kaldi data directories, written by hand as Kaldi's documentation describes them."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
import soundfile

from pipeline.errors import InputError
from pipeline.sources.inputs import discover_all
from pipeline.sources.manifests.formats import read_manifest
from pipeline.sources.plan import plan
from pipeline.storage.access import DEFAULT
from tests.helpers.shards import cells, contents, outcomes, read, write_files
from tests.helpers.sounds import tone

CALL = {
    "wav.scp": b"call1 /data/call1.wav\ncall2\t  audio/call 2.wav  \n",
    "segments": b"anna-1 call1 0.5 1.5\nbert-1 call2 1 2.25\nanna-2 call1 1.5 2\n",
    "utt2spk": b"anna-1 anna\nanna-2 anna\nbert-1 bert\nelse spk\n",
    "text": "anna-1 good  day\nanna-2\nbert-1 grüß Gott \n".encode(),
    "reco2file_and_channel": b"call2 call B\ncall1 call 1\n",
    "feats.scp": b"anna-1 /exp/raw.ark:17\n",
}


def table_of(folder: Path) -> pa.Table:
    return read_manifest(str(folder / "wav.scp"), None, DEFAULT).table


def test_all_files_of_a_data_directory(tmp_path: Path) -> None:
    rows = table_of(write_files(tmp_path, CALL)).to_pylist()
    assert rows == [
        {"id": "anna-1", "path": "/data/call1.wav", "start_s": 0.5, "end_s": 1.5, "channel": 1}
        | {"text": "good  day", "speaker": "anna"},
        {"id": "bert-1", "path": "audio/call 2.wav", "start_s": 1.0, "end_s": 2.25, "channel": 2}
        | {"text": "grüß Gott", "speaker": "bert"},
        {"id": "anna-2", "path": "/data/call1.wav", "start_s": 1.5, "end_s": 2.0, "channel": 1}
        | {"text": "", "speaker": "anna"},
    ]


def test_the_folder_is_an_input(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "train", {"wav.scp": b"a a.wav\nb sub/b.wav\n", "a.wav": b"A", "sub/b.wav": b"B"})
    for given in (str(folder), f"file://{folder}/", str(folder / "wav.scp")):
        assert contents(plan([given])) == {"a": b"A", "b": b"B"}
    assert discover_all([str(folder)]).notes == [f"{folder}/wav.scp: Kaldi's wav.scp"]
    assert contents(plan([str(folder / "sub")])) == {"b.wav": b"B"}


def test_relative_paths_start_where_input_root_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"data/train/wav.scp": b"a corpus/a.wav\n", "corpus/a.wav": b"A"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"data/train/corpus/a\.wav: no such file.*set input\.root=\."):
        plan(["data/train"])
    for root in (".", str(tmp_path), f"file://{tmp_path}"):
        planned = plan(["data/train"], root=root)
        assert contents(planned) == {"a": b"A"}
        assert os.path.samefile(read(planned)[0].source.removeprefix("file://"), tmp_path / "corpus/a.wav")


def test_segments_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.0, rate=16_000), 16_000)
    lines = {"all": "0 2", "part": "0.25 0.75", "negative": "-1 1", "backwards": "1 0.5", "beyond": "1 60"}
    lines |= {"rest": "0.5 -1", "before": "0.5 -2"}
    segments = "".join(f"{id} rec {times}\n" for id, times in lines.items()).encode()
    planned = plan([str(write_files(tmp_path, {"wav.scp": b"rec a.wav\n", "segments": segments}))])
    expected = dict.fromkeys(lines, "SegmentOutside") | {"all": 2.0, "part": 0.5, "rest": 1.5}
    assert outcomes(planned) == expected


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    write_files(tmp_path, {"wav.scp": b"a\xff /\xfe.wav\n", "text": b"a\xff caf\xe9\n"})
    (item,) = read(plan([str(tmp_path)]))
    assert (item.id, cells(item)["text"]) == (r"a\xff", r"caf\xe9")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("wav.scp", b"a a.wav\nb sph2pipe -f wav b.sph |\nc cat c |\n", r"wav\.scp, line 2: 'sph2pipe .*1 more"),
        ("wav.scp", b"a raw.ark:123\n", r"line 1: 'raw\.ark:123' is a place in an archive"),
        ("wav.scp", b"a a.wav\n\nb b.wav\n", "line 2: '' is not a line of this file"),
        ("wav.scp", b"a\n", "line 1: 'a' is a recording without a path"),
        ("wav.scp", b"", "an empty file"),
        ("segments", b"u call1 0 1\nv call9 0 1\n", r"segments, line 2: 'call9' is no recording of .*wav\.scp"),
        ("segments", b"u call1 0\n", "segments, line 1: 'u call1 0' is not a line of this file"),
        ("segments", b"u call1 0 1.2.3\n", "a time is no number of seconds"),
        ("reco2file_and_channel", b"call1 call A\ncall2 call 0\n", "line 2: '0' is no channel; expected A, B, 1, 2"),
        ("wav.scp", b"call1 a.wav\ncall1 b.wav\ncall2 c.wav\n", "two lines have the recording 'call1'"),
        ("text", b"u one\nv two\nu three\n", "/text: two lines are of 'u'; expected one"),
        ("reco2file_and_channel", b"call1 a A\ncall1 a B\n", "reco2file_and_channel: two lines are of 'call1'"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    write_files(tmp_path, CALL | {name: content})
    with pytest.raises(InputError, match=said):
        plan([str(tmp_path)])


def test_a_command_is_never_run(tmp_path: Path) -> None:
    write_files(tmp_path, {"wav.scp": f"a touch {tmp_path}/ran |\n".encode()})
    with pytest.raises(InputError, match="is a command, and none is run here; write the file's path"):
        plan([str(tmp_path)])
    assert not (tmp_path / "ran").exists()


def test_two_utterances_of_one_id(tmp_path: Path) -> None:
    write_files(tmp_path, {"wav.scp": b"a 1.wav\na 2.wav\n"})
    with pytest.raises(InputError, match="two recordings have the id 'a'"):
        plan([str(tmp_path)])
