"""Lists of paths."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.sources.plan import plan
from tests.helpers.shards import contents, outcomes, read, write_files


@pytest.mark.parametrize("name", ["list.txt", "train.lst"])
def test_a_path_or_uri_a_line(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {"a.wav": b"A", "b c.wav": b"BC", '#1,"x.wav': b"1", "d/d.wav": b"D"})
    lines = f'a.wav\r\n\n  b c.wav \n#1,"x.wav\n   \nfile://{tmp_path}/d/d.wav'
    (tmp_path / name).write_text(lines)
    found = {"a.wav": b"A", "b c.wav": b"BC", '#1,"x.wav': b"1", f"file://{tmp_path}/d/d.wav": b"D"}
    assert contents(plan([str(tmp_path / name)])) == found


def test_lists_are_not_taken_from_folders(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"A", "a.txt": b"what is said", "list.lst": b"b.wav"})
    assert contents(plan([str(tmp_path)])) == {"a.wav": b"A"}


def test_what_is_no_text_is_a_failure(tmp_path: Path) -> None:
    write_files(tmp_path, {"list.txt": b"\xffa.wav\ngone.wav\n"})
    assert outcomes(plan([str(tmp_path / "list.txt")])) == dict.fromkeys((r"\xffa.wav", "gone.wav"), "UnreadableAudio")


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\n"])
def test_an_empty_list(tmp_path: Path, content: bytes) -> None:
    write_files(tmp_path, {"list.txt": content})
    with pytest.raises(InputError, match=r"list\.txt: a list without a path"):
        plan([str(tmp_path / "list.txt")])


def test_two_lines_of_one_path(tmp_path: Path) -> None:
    write_files(tmp_path, {"list.txt": b"a.wav\na.wav\n"})
    with pytest.raises(InputError, match=r"two recordings have the id 'a\.wav'"):
        plan([str(tmp_path / "list.txt")])


def test_a_scheme_that_is_not_allowed(tmp_path: Path) -> None:
    write_files(tmp_path, {"list.txt": b"a.wav\nftp://h/a.wav\n"})
    with pytest.raises(InputError, match="'ftp' is not allowed"):
        read(plan([str(tmp_path / "list.txt")]))
