"""Sets of ids on 16 bytes each."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.storage import id_set as sets
from pipeline.storage.id_set import among, id_set, repeated


@pytest.mark.parametrize("at_once", [1, 2, 100])
@pytest.mark.parametrize("known", [[], ["b"], ["c", "a", "c"]])
@pytest.mark.parametrize("ids", [[], ["a"], ["a", "b", "c", "d", "a"]])
def test_which_are_among_them(monkeypatch: pytest.MonkeyPatch, ids: list[str], known: list[str], at_once: int) -> None:
    monkeypatch.setattr(sets, "HASHED_AT_ONCE", at_once)
    found = among(pa.chunked_array([ids[:2], ids[2:]], pa.string()), id_set(pa.array(known, pa.large_string())))
    assert found.tolist() == [id_ in known for id_ in ids]


def test_a_set_of_many() -> None:
    ids = pa.array([f"id {number}" for number in range(3000)])
    known = id_set(ids[::2])
    assert np.array_equal(np.sort(known), known)
    assert np.array_equal(among(ids, known), np.arange(3000) % 2 == 0)


def test_what_is_there_twice() -> None:
    assert len(repeated(id_set(pa.array(["a", "b"])))) == 0
    twice = repeated(id_set(pa.array(["a", "b", "a", "c", "b"])))
    assert among(pa.array(["a", "b", "c"]), twice).tolist() == [True, True, False]
