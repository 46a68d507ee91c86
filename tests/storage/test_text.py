"""Text in columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.storage.text import MAX_TEXT_BYTES, mend_text, narrow_text, plain_type


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_of_any_width(kind: pa.DataType) -> None:
    column = narrow_text(pa.chunked_array([["a", None], [], ["\u00e9"]], kind))
    assert (column.type, column.to_pylist()) == (pa.string(), ["a", None, "\u00e9"])


def test_integers_as_text() -> None:
    assert narrow_text(pa.chunked_array([[7, None]], pa.int64())).to_pylist() == ["7", None]


EMPTY = pa.struct([])


@pytest.mark.parametrize(
    ("kind", "values", "plain", "found"),
    [
        (EMPTY, [{}, None], pa.string(), ["{}", None]),
        (pa.struct({"a": pa.int64(), "b": EMPTY}), [{"a": 1, "b": {}}, None], None, [{"a": 1, "b": "{}"}, None]),
        (pa.list_(EMPTY), [[{}, None], []], pa.list_(pa.string()), [["{}", None], []]),
        (pa.map_(pa.string(), EMPTY), [[("k", {})]], pa.map_(pa.string(), pa.string()), [[("k", "{}")]]),
    ],
)
def test_objects_without_fields_become_text(
    tmp_path: Path, kind: pa.DataType, values: list[Any], plain: pa.DataType | None, found: list[Any]
) -> None:
    """Parquet has no such type."""
    column = mend_text(pa.chunked_array([pa.array(values, kind)]))
    assert column.type == plain_type(kind) == (plain or pa.struct({"a": pa.int64(), "b": pa.string()}))
    assert column.to_pylist() == found
    pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet")


def test_views_of_more_than_2_gib_of_text(tmp_path: Path) -> None:
    begin = MAX_TEXT_BYTES + 1
    with open(tmp_path / "text", "wb") as file:
        file.seek(begin)
        file.write(b"hello")  # behind a hole, which takes no space on the disk and no memory
    offsets = pa.py_buffer(np.array([0, begin, begin + 5]))
    text = pa.memory_map(str(tmp_path / "text")).read_buffer()
    whole = pa.chunked_array([pa.LargeStringArray.from_buffers(2, offsets, text)])
    with pytest.raises(pa.ArrowInvalid, match="too large"):
        whole.slice(1).cast(pa.string())
    assert narrow_text(whole.slice(1)).to_pylist() == ["hello"]
