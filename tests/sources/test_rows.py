"""Tables of very many rows: nulls that take no memory, choices that copy little, rows that travel."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.sources import rows
from pipeline.sources.rows import is_empty, kept, nulls, packed, taken, unpacked

SCHEMA = pa.schema([("t", pa.string()), ("n", pa.int64()), ("none", pa.float64()), ("l", pa.list_(pa.string()))])


def table(count: int, chunk: int = 7) -> pa.Table:
    made = [{"t": f"text {i}", "n": i, "l": ["x"] * (i % 3) if i % 2 else None} for i in range(count)]
    pieces = [pa.Table.from_pylist(made[first : first + chunk], SCHEMA) for first in range(0, count, chunk)]
    return pa.concat_tables([SCHEMA.empty_table(), *pieces])


@pytest.mark.parametrize("count", [0, 1, rows.NULLS - 1, rows.NULLS, 3 * rows.NULLS + 1])
def test_nulls_are_as_many_as_asked_for(count: int) -> None:
    column = nulls(count, pa.float64())
    assert (len(column), column.null_count, column.type) == (count, count, pa.float64())
    assert is_empty(column)
    assert column.validate(full=True) is None


def test_nulls_take_no_memory() -> None:
    nulls(rows.NULLS, pa.int64())
    before = pa.total_allocated_bytes()
    column = nulls(100 * rows.NULLS, pa.int64())
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert len(column) == 100 * rows.NULLS


@pytest.mark.parametrize("some", [[], [0], [5, 6, 7], range(30)])
def test_rows_that_are_kept(some: list[int]) -> None:
    whole, mask = table(30), np.zeros(30, bool)
    mask[list(some)] = True
    assert kept(whole, mask).equals(whole.filter(pa.array(mask)))


def test_keeping_all_rows_copies_none() -> None:
    whole = table(3000)
    before = pa.total_allocated_bytes()
    same = kept(whole, np.ones(3000, bool))
    assert pa.total_allocated_bytes() == before
    assert same.equals(whole)


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_rows_that_are_taken(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(rows, "TAKEN_AT_ONCE", at_once)
    whole = table(30)
    for numbers in ([], [29], [3, 3, 0, 14, 13], list(np.random.default_rng(0).permutation(30))):
        assert taken(whole, np.array(numbers, np.int64)).equals(whole.take(pa.array(numbers, pa.int64())))


def test_rows_are_taken_from_more_than_2_gib_of_text() -> None:
    block = pa.array(["x" * (1 << 20)])
    whole = pa.table({"t": pa.chunked_array([block] * 2100), "n": np.arange(2100)})  # one block of memory
    with pytest.raises(pa.ArrowInvalid, match="overflow"):
        whole.take(pa.array([5, 2099]))
    assert taken(whole, np.array([2099, 5]))["n"].to_pylist() == [2099, 5]


@pytest.mark.parametrize(("first", "count"), [(0, 0), (3, 1), (5, 20), (0, 30)])
def test_rows_travel_alone(first: int, count: int) -> None:
    view = table(30).slice(first, count)
    again = unpacked(packed(view), SCHEMA)
    assert again.equals(view)
    assert again.schema == SCHEMA


def test_nulls_do_not_travel() -> None:
    few = pa.table({"n": [1]})
    many = few.append_column("none", nulls(1, pa.float64())).append_column("t", nulls(1, pa.string()))
    assert len(packed(many)) == len(packed(few))


def test_empty_views_travel_without_the_text_behind_them() -> None:
    text = pa.array([f"{number:x}" for number in np.random.default_rng(0).integers(1 << 62, size=10_000)], pa.string())
    some = text.slice(50, 20)
    among = pa.table({"t": pa.chunked_array([text.slice(0, 0), some, text.slice(70, 0), some.slice(20)])})
    assert len(packed(among)) == len(packed(pa.table({"t": some})))
    assert unpacked(packed(among), among.schema).equals(among)
