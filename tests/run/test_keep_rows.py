"""`keep_rows`: parts of a store are rewritten side by side, all of them before an old one goes."""

import functools
import hashlib
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.errors import OutputError
from pipeline.run import keep_rows as keep_rows_module
from pipeline.run.keep_rows import keep_rows
from pipeline.run.parts import read_part
from pipeline.run.write import write_parts_and_shards
from pipeline.schema import CODES_SCHEMA
from tests.helpers.rows import wave_row
from tests.helpers.store import Store

LOCAL = LocalFileSystem()
MASKS = [(True, False), (False, True), (False, False), (True, False)]
"""Which rows of the parts of `commit` stay."""


def commit(folder: Path, ids: list[tuple[str, ...]]) -> list[str]:
    """A part of codes, and a shard, of each; returns the paths of the parts below `folder`."""
    names = []
    for some in ids:
        rows = [wave_row(id_, np.full(300, len(names), np.int16)).append_column("n", [[len(names)]]) for id_ in some]
        written = write_parts_and_shards(pa.concat_tables(rows), LOCAL, f"{folder}/run", "wav", 1000)
        names.append(f"run/codes/{written['codes_part'][0].as_py()}")
    return names


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reader(fs: FileSystem) -> functools.partial[pa.Table]:
    return functools.partial(read_part, fs, schema=CODES_SCHEMA)


def test_a_store_is_asked_side_by_side_and_ends_as_a_disk(tmp_path: Path) -> None:
    ids = [(f"{number}a", f"{number}b") for number in range(len(MASKS))]
    for place in ("disk", "store"):
        paths = commit(tmp_path / place, ids)
    kept = {path: np.array(mask) for path, mask in zip(paths, MASKS, strict=True)}
    store = Store(tmp_path / "store")
    there = {f"{tmp_path}/disk/{path}": mask for path, mask in kept.items()}
    assert keep_rows(store, kept, reader(store)) == keep_rows(LOCAL, there, reader(LOCAL))
    assert files(tmp_path / "store") == files(tmp_path / "disk")
    assert len(files(tmp_path / "store")) == 6  # of three parts a row is left, and its wave
    assert store.count["delete_file"] == 8
    assert min(store.most[name] for name in ("open_input_file", "open_output_stream", "delete_file")) > 1


def test_a_part_of_which_nothing_stays_is_not_read(tmp_path: Path) -> None:
    (path,) = commit(tmp_path, [("a", "b")])

    def read(path: str) -> pa.Table:
        raise AssertionError(path)

    store = Store(tmp_path, 0)
    assert keep_rows(store, {path: np.zeros(2, bool)}, read) == {path.rpartition("/")[2]: None}
    assert files(tmp_path) == {}


def test_nothing_goes_before_all_new_parts_are_there(tmp_path: Path) -> None:
    paths = commit(tmp_path, [(f"{number}a", f"{number}b") for number in range(8)])
    before, store = files(tmp_path), Store(tmp_path)

    def read(path: str) -> pa.Table:
        if path == paths[-1]:
            raise OutputError("torn")
        return reader(store)(path)

    with pytest.raises(OutputError, match="torn"):
        keep_rows(store, {path: np.array([True, False]) for path in paths}, read)
    after = files(tmp_path)
    assert before == {name: after[name] for name in before}
    assert len(after) > len(before)


def test_a_deletion_that_fails_is_raised(tmp_path: Path) -> None:
    paths = commit(tmp_path, [("a", "b"), ("c", "d"), ("e", "f")])
    (tmp_path / paths[1]).unlink()
    with pytest.raises(FileNotFoundError, match=paths[1]):
        keep_rows(Store(tmp_path), {path: np.zeros(2, bool) for path in paths}, reader(LOCAL))


def test_parts_that_keep_the_same_rows_are_written_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Column "n" differs: the sha256 is that of the file that is there, whichever it is."""
    paths = commit(tmp_path, [("a", "b"), ("a", "c"), ("a", "d")])
    busy, write = Lock(), keep_rows_module.write_table

    def write_alone(*args: Any) -> str:
        assert busy.acquire(blocking=False)
        try:
            return write(*args)
        finally:
            busy.release()

    monkeypatch.setattr(keep_rows_module, "write_table", write_alone)
    store = Store(tmp_path)
    changed = keep_rows(store, {path: np.array([True, False]) for path in paths}, reader(store))
    assert {name: sha for name, sha in changed.items() if sha} == {
        Path(name).name: hashlib.sha256(content).hexdigest()
        for name, content in files(tmp_path).items()
        if name.endswith(".parquet")
    }
