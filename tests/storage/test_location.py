"""Locations, redaction, whole writes, file names from ids."""

import os
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs as pafs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.run.layout import safe_relative_path
from pipeline.sources.plan import plan
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate, look_up
from pipeline.storage.location import absolute, file_name, folder_of, local_location, local_path, redact
from pipeline.storage.stamp import local_stamp
from tests.helpers.shards import contents, write_files


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/a/b c.wav", "/a/b c.wav"),
        ("/a/50%25.wav", "/a/50%25.wav"),  # a plain path is never decoded
        ("file:///a/b%20c.wav", "/a/b c.wav"),
        ("file://localhost/a.wav", "/a.wav"),
        ("/a/./x/../b.wav", "/a/b.wav"),
    ],
)
def test_local_locations(location: str, path: str) -> None:
    fs, found = locate(location)
    assert isinstance(fs, pafs.LocalFileSystem)
    assert found == path


def test_a_working_folder_that_was_deleted_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert absolute("/a/b") == "/a/b"
    with pytest.raises(InputError, match="working folder was deleted"):
        absolute("b")


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("a.wav")[1] == str(tmp_path / "a.wav")


def test_a_folder_that_looks_like_a_scheme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    for location in ("s3:/run", "./s3:/run", "s3:run", "c:/run"):
        assert locate(location)[1] == str(tmp_path / location)


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert locate("~/a.wav")[1] == str(tmp_path / "a.wav")
    assert [locate(path)[1] for path in ("./~/a.wav", "~a.wav")] == ["/~/a.wav", "/~a.wav"]
    write_files(tmp_path, {"a.wav": b"A", "b[1].wav": b"B"})
    for location in ("~/*.wav", "~/", f"{tmp_path}/*.wav"):
        assert contents(plan([location])) == {"a.wav": b"A", "b[1].wav": b"B"}
    assert contents(plan(["~/b[1].wav"])) == {"b[1].wav": b"B"}


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("corpus/", "{here}/corpus"),
        ("./corpus/*.wav", "{here}/corpus/*.wav"),
        ("/corpus/../x", "/x"),
        ("file:///my%20corpus/", "/my corpus"),
        ("-", "-"),
        ("s3://bucket/corpus/", "s3://bucket/corpus/"),
    ],
)
def test_the_same_place_has_one_absolute_location(
    location: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute(location) == expected.format(here=tmp_path)


def test_object_store_paths_are_decoded_and_clients_shared() -> None:
    query = "?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    fs, path = locate(f"s3://key:secret@bucket/a%20b/c d%3F#%25.wav{query}")
    assert isinstance(fs, pafs.S3FileSystem)
    assert path == "bucket/a b/c d?#%.wav"
    assert locate(f"s3://key:secret@bucket/other{query}")[0] is fs


def test_the_environment_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    first = locate("s3://bucket/a")[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    assert locate("s3://bucket/a")[0] is not first


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("ftp://host/a.wav", "allowed: file, s3"),
        ("file://host/a.wav", "three slashes"),
        ("/a\0.wav", "NUL"),
        ("s3://[::1/a.wav", "not a URI"),
        ("", "an empty path"),
        ("s3:/bucket/run", "did you mean s3://bucket/run\\?"),
        ("https:/user:secret@host/a.wav", "did you mean https://host/a.wav\\?"),
        ("s3://", "nothing is named behind s3://; expected s3://NAME/path"),
        ("gs:///a.wav", "nothing is named behind gs://"),
    ],
)
def test_what_is_no_location(location: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        locate(location)


def test_schemes_can_be_narrowed() -> None:
    with pytest.raises(InputError, match=r"'file' is not allowed; allowed: s3 \(input.schemes\)"):
        locate("/a.wav", ("s3",))


def test_look_up(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"123")
    assert look_up(str(tmp_path))[0]
    assert look_up(str(tmp_path / "a.wav")) == (False, local_stamp(str(tmp_path / "a.wav")))
    with pytest.raises(InputError, match="no such file or folder"):
        look_up(str(tmp_path / "b.wav"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:sec@ret@bucket/a.wav?token=x", "s3://bucket/a.wav"),
        ("https://user@host/a.wav?sig=x&y=z", "https://host/a.wav"),
        ("reading 'https://u:p@h/a?s=1' and gs://b/c?d failed", "reading 'https://h/a' and gs://b/c failed"),
        ("/local/a?b@c.wav", "/local/a?b@c.wav"),
        ("s3://bucket/a@b.wav", "s3://bucket/a@b.wav"),
        ("s3://key:se/cr/et@bucket/a.wav", "s3://bucket/a.wav"),  # no URI, but people type it
        ("http://host:8080/a@b.wav", "http://host:8080/a@b.wav"),
        ("s3://k:s@b/it's a.wav?endpoint_override=x&secret=y", "s3://b/it's a.wav"),
        ("s3://b/a b.wav?key=x: cannot be read", "s3://b/a b.wav cannot be read"),
        (
            "HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /x/blob?X-Amz-Signature=s (Caused",
            "HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /x/blob (Caused",
        ),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(user=st.text("abcXYZ0+/=%:@", min_size=8), secret=st.text("abcXYZ0+=%:", min_size=8))
def test_redact_hides_all_that_a_uri_can_hide(user: str, secret: str) -> None:
    shown = redact(f"s3://{quote(user, safe='')}:{quote(secret, safe='')}@bucket/x.wav?k={quote(secret)}")
    assert shown == "s3://bucket/x.wav"


def test_names_that_are_no_utf8_become_uris() -> None:
    path = os.fsdecode(b"/a/\xff b.wav")
    assert local_location(path) == "file:///a/%FF%20b.wav"
    assert local_path(local_location(path)) == path
    assert local_location("/a/b\tc\nd.wav") == "file:///a/b%09c%0Ad.wav"
    assert local_path(local_location("/a/b\tc\nd.wav")) == "/a/b\tc\nd.wav"
    assert local_location("/a/é.wav") == "/a/é.wav"


@pytest.mark.parametrize(
    ("location", "folder", "name"),
    [
        ("/a/b/c.jsonl", "/a/b", "c.jsonl"),
        ("s3://k:s@b/d/c%20.csv?region=x", "s3://k:s@b/d?region=x", "c .csv"),
        ("https://h/d/c.csv?signature=x", "https://h/d", "c.csv"),
    ],
)
def test_folder_and_name(location: str, folder: str, name: str) -> None:
    assert (folder_of(location), file_name(location)) == (folder, name)


@pytest.mark.parametrize("id", ["spk1/utt7.flac", "a.wav", "größe/ü.opus", "shard-000.tar/x y.flac", "m#1.5-2", ".a"])
def test_ordinary_ids_are_their_own_file_names(id: str) -> None:
    assert safe_relative_path(id) == id


PIECES = [
    "..",
    ".",
    "/",
    ".pieces",
    "a",
    "A.wav",
    "%",
    "%2E",
    "%_",
    "%~",
    "\0",
    "\n",
    "x" * 300,
    "é" * 150,
    "\\",
    ".wav",
]
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=400)


@given(HOSTILE)
@example("../../etc/passwd")
@example("/etc/passwd")
@example(".pieces/x")
@example(".PIECES")
@example("")
@example("/".join("abc" * 900))
def test_file_names_stay_in_their_folder(id: str) -> None:
    path = safe_relative_path(id)
    parts = path.split("/")
    assert not {"", ".", "..", ".pieces"} & {part.lower() for part in parts}
    assert os.path.normpath(f"/run/{path}") == f"/run/{path}"
    assert all(len(part.encode()) <= 180 for part in parts)
    assert len(path.encode()) <= 1000
    assert "\0" not in path
    assert "\n" not in path


@given(HOSTILE, HOSTILE)
@example("", "%_")
@example("..", "%2E%2E")
@example("\0", "%00")
@example("x" * 300, "x" * 301)
def test_different_ids_have_different_file_names(one: str, other: str) -> None:
    same = safe_relative_path(one) == safe_relative_path(other)
    assert same == (one == other)


@given(HOSTILE, HOSTILE)
@example("a", "a.wav/b")
def test_no_recordings_file_is_anothers_folder(one: str, other: str) -> None:
    file, folders = f"{safe_relative_path(one)}.wav", f"{safe_relative_path(other)}.wav"
    assert not folders.startswith(f"{file}/")


def test_a_run_can_hold_every_hostile_name(tmp_path: Path) -> None:
    ids = ["../up", "/root", "a//b", "a/./b", "nul\0", "x" * 300, "é" * 200, "new\nline", "a/../../b", "con:aux?", ""]
    for id in ids:
        write_whole(
            pafs.LocalFileSystem(), f"{tmp_path}/wav/{safe_relative_path(id)}.wav", lambda file: file.write(b"x")
        )
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["wav"]
