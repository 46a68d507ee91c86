"""The folders of a store are listed several at once, and all files below them are found."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from pipeline.storage import filesystem
from pipeline.storage.filesystem import stamps_below

TREES = {
    "flat": ["a.wav", "b.wav"],
    "wide": [f"{folder}/{name}.wav" for folder in range(9) for name in "ab"] + ["top.wav"],
    "deep": ["1/2/3/4/5/6.wav", "1/2/x.wav", "1/y.wav"],
    "mixed": ["a/b.wav", "a/c/d.wav", "a/c/e/f.wav", "g/h.wav", "i.wav"],
}


class Watched(pafs.SubTreeFileSystem):
    """A local folder as a store; remembers which folders were listed with all below them."""

    recursive: list[str]

    def get_file_info(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        self.recursive += [selector.base_dir] * selector.recursive
        return super().get_file_info(selector)


@pytest.mark.parametrize("files", TREES.values(), ids=TREES)
@pytest.mark.parametrize(("at_once", "most"), [(1, 0), (2, 100), (4, 3), (16, 2000)])
def test_all_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], at_once: int, most: int
) -> None:
    monkeypatch.setattr(filesystem, "LISTINGS", at_once)
    monkeypatch.setattr(filesystem, "MAX_LISTINGS", most)
    for name in files:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    store = Watched(str(tmp_path), pafs.LocalFileSystem())
    store.recursive = []
    found = stamps_below(store, "in")
    assert sorted(found["path"].to_pylist()) == sorted(f"in/{name}" for name in files)
    assert set(found["size"].to_pylist()) == {1}
    assert [version[-1] for version in found["version"].to_pylist()] == ["Z"] * len(files)


@pytest.mark.parametrize(("most", "listed"), [(100, [f"in/{n}" for n in range(9)]), (8, ["in"])])
def test_folders_are_listed_by_themselves_unless_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, listed: list[str]
) -> None:
    monkeypatch.setattr(filesystem, "LISTINGS", 4)
    monkeypatch.setattr(filesystem, "MAX_LISTINGS", most)
    for number in range(9):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
    store = Watched(str(tmp_path), pafs.LocalFileSystem())
    store.recursive = []
    assert len(stamps_below(store, "in")) == 0
    assert sorted(store.recursive) == listed
