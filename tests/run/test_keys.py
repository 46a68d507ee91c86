"""The keys of a run: each part is read once; rows that share an id are found by their hashes alone."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.run import parts as parts_module
from pipeline.run.alike import Numbered, absent, beginnings, first_of, groups, shared
from pipeline.run.committed import committed, lasting
from pipeline.run.join_waves import join_long_waves
from pipeline.run.keys import Keys
from pipeline.run.settle import settle
from pipeline.run.totals import count
from pipeline.run.write import write_failures, write_parts
from pipeline.schema import FAILURES_SCHEMA
from pipeline.storage.id_set import hashes_among
from pipeline.storage.text import id_hashes
from tests.helpers.rows import coded_row

LOCAL = LocalFileSystem()


def hashes(*ids: str) -> np.ndarray:
    return id_hashes(pa.array(ids, pa.string()))


def failed(id_: str, message: str) -> pa.Table:
    row = {"id": id_, "source": id_, "stage": "read", "error": "UnreadableAudio", "message": message}
    return pa.Table.from_pylist([row], FAILURES_SCHEMA)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the parts that are opened, each time they are."""
    found: list[str] = []
    whole = pq.ParquetFile

    def look(path: str, **more: object) -> pq.ParquetFile:
        found.append(Path(path).name)
        return whole(path, **more)

    monkeypatch.setattr(parts_module.pq, "ParquetFile", look)
    return found


def test_each_part_is_read_once(tmp_path: Path, opened: list[str]) -> None:
    run, names = str(tmp_path), []
    for ids in ("ab", "bc"):
        table = write_parts(pa.concat_tables([coded_row(id_, 1920) for id_ in ids]), LOCAL, run)
        names.append(table["codes_part"][0].as_py())
    write_failures(failed("d", "it cannot be read (x)"), LOCAL, run)
    keys = Keys(LOCAL, run).refresh()
    assert (len(opened), set(opened) > set(names)) == (3, True)
    changed = settle(keys).parts
    (new,) = {*changed} - {*names}
    assert set(opened[3:5]) == set(names)  # were they read from one input
    assert (len(opened), opened[5] in names, opened[6]) == (7, True, new)  # rewritten without a row, then read
    opened.clear()
    done = committed(keys)
    assert sorted(done.ids.to_pylist()) == ["a", "b", "c", "d"]
    assert sorted(lasting(keys, done.ids).to_pylist()) == ["a", "b", "c"]
    join_long_waves(keys)
    assert count(keys.refresh(), 0)["recordings"] == 3
    assert opened == []


def test_a_part_of_failures_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    run, keys = str(tmp_path), Keys(LOCAL, str(tmp_path))
    name = write_failures(failed("a", "it cannot be read (x)"), LOCAL, run)
    done = committed(keys).ids
    assert lasting(keys, done).to_pylist() == []
    assert write_failures(failed("a", "no such file or folder"), LOCAL, run) == name
    assert lasting(keys.refresh(), done).to_pylist() == ["a"]


def test_ids_stay_in_chunks_of_64_bit_offsets(tmp_path: Path) -> None:
    for ids in ("ab", "cd"):
        write_parts(pa.concat_tables([coded_row(id_, 1920) for id_ in ids]), LOCAL, str(tmp_path))
    ids = committed(Keys(LOCAL, str(tmp_path))).ids
    assert (ids.type, sorted(map(len, ids.chunks))) == (pa.large_string(), [2, 2])


def test_rows_that_share_a_hash() -> None:
    assert shared([hashes("a", "b"), hashes("c", "a", "d"), hashes(), hashes("d")]).tolist() == [0, 3, 4, 5]
    assert shared([]).tolist() == []
    begin_alike = np.frombuffer(b"12345678abcdefgh" + b"12345678ABCDEFGH" + b"0" * 16, "S16")
    assert shared([begin_alike]).tolist() == [0, 1]  # more than equal ones; never less


def test_what_is_among_others() -> None:
    some = hashes("a", "x", "b", "y")
    known = beginnings([hashes("b"), hashes("a", "c")])
    assert absent([some[:2], some[2:]], known).tolist() == [False, True, False, True]
    assert absent([some], beginnings([])).tolist() == [True] * 4
    assert hashes_among(some, np.sort(hashes("a", "b", "c"))).tolist() == [True, False, True, False]
    assert hashes_among(some, hashes()).tolist() == [False] * 4


def test_many_rows_are_looked_up_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.run.alike.AT_ONCE", 2)
    some = hashes("a", "x", "b", "y", "a")
    assert shared([some, hashes("y")]).tolist() == [0, 3, 4, 5]
    assert absent([some, hashes("z")], beginnings([hashes("a", "b")])).tolist() == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    assert Numbered(hashes(*"abcdefgh")).absent(beginnings([hashes("a", "e")])).tolist() == [1, 2, 3, 5, 6, 7]


def test_numbers_of_hashes() -> None:
    assert Numbered(hashes("c", "a", "b", "a")).find(hashes("a", "z", "c")).tolist() == [1, -1, 0]
    assert Numbered(hashes()).find(hashes("a")).tolist() == [-1]
    assert Numbered(hashes("a")).find(hashes()).tolist() == []
    alike = np.array([b"12345678" + end * 8 for end in (b"a", b"b", b"c")], "S16")
    assert Numbered(alike).find(alike[::-1]).tolist() == [2, 1, 0]
    assert Numbered(alike[:2]).find(alike).tolist() == [0, 1, -1]


def test_groups_of_rows() -> None:
    one, other = np.array([2, 1, 2, 2]), np.array([0, 0, 1, 0])
    order, begins = groups(one, other)
    assert (order.tolist(), begins.tolist()) == ([1, 0, 3, 2], [0, 1, 3])
    assert first_of(one, other).tolist() == [0, 1, 2]
    assert first_of(one, least=np.array([1, 0, 1, 0])).tolist() == [1, 3]
    assert first_of(one[:0]).tolist() == []
