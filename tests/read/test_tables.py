"""Rows in tables: gathered where they are short, alone and not copied where they are long, and equal in either way."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.contract import FRAME_SAMPLES
from pipeline.read import Reading, read_chunks
from pipeline.read.tables import TABLE_BYTES, tables
from pipeline.schema import CHUNK_SCHEMA
from pipeline.sources.plan import plan
from tests.helpers.shards import write_parquet
from tests.helpers.sounds import sound

LIST = pa.list_(pa.int64())
SCHEMA = pa.unify_schemas([CHUNK_SCHEMA, pa.schema([("tags", LIST)])])
WHOLE = TABLE_BYTES // 4  # samples


def row(id_: str, samples: int | None, tags: list[int] | None = None) -> dict[str, Any]:
    audio = {} if samples is None else {"audio": np.arange(samples, dtype=np.float32)}
    return {"id": id_, "tags": pa.scalar(tags, LIST), **audio}


@pytest.mark.parametrize(
    ("samples", "most_rows", "expected"),
    [
        ([1, 1, 1], 1, [1, 1, 1]),
        ([1, 1, 1, 1, 1], 2, [2, 2, 1]),
        ([None, 1, None], 3, [3]),
        ([WHOLE // 2, WHOLE // 2, 1], 9, [2, 1]),
        ([WHOLE // 2, WHOLE // 2 + 1, 1], 9, [1, 2]),
        ([1, WHOLE, 1, 2 * WHOLE, 1], 9, [1, 1, 1, 1, 1]),
        ([], 9, []),
    ],
)
def test_how_many_rows_share_a_table(samples: list[int | None], most_rows: int, expected: list[int]) -> None:
    rows = [row(str(number), length, [number] if number % 2 else None) for number, length in enumerate(samples)]
    found = list(tables(iter(rows), SCHEMA, most_rows))
    assert [len(table) for table in found] == expected
    together = pa.concat_tables(found) if found else SCHEMA.empty_table()
    assert together.schema == SCHEMA
    assert together["id"].to_pylist() == [one["id"] for one in rows]
    assert together["tags"].to_pylist() == [one["tags"].as_py() for one in rows]
    assert together["chunk"].null_count == len(rows)
    for one, audio in zip(rows, together["audio"], strict=True):
        assert audio.is_valid == ("audio" in one)
        if audio.is_valid:
            np.testing.assert_array_equal(audio.values.to_numpy(), one["audio"])


def test_a_row_leaves_as_soon_as_its_table_is_full() -> None:
    taken: list[str] = []

    def rows() -> Any:
        for name in "abcd":
            taken.append(name)
            yield row(name, WHOLE if name == "c" else 1)

    found = tables(rows(), SCHEMA, 2)
    assert (next(found)["id"].to_pylist(), taken) == (["a", "b"], ["a", "b"])
    long = next(found)["audio"]
    assert taken == ["a", "b", "c"]
    assert len(long) == 1


def test_the_audio_of_a_long_row_is_not_copied() -> None:
    one = row("a", WHOLE)
    (table,) = tables(iter([one]), SCHEMA, 9)
    assert table["audio"].chunk(0).values.to_numpy().ctypes.data == one["audio"].ctypes.data


def test_the_rows_of_a_task_are_the_same_in_any_tables(tmp_path: Path) -> None:
    audio = [{"bytes": content, "path": None} for content in (sound("wav", 0.5), b"broken", sound("flac", 2.5))]
    planned = plan([str(write_parquet(tmp_path / "s.parquet", audio, tags=[[1], None, [2, 3]]))])
    how = Reading(12 * FRAME_SAMPLES, 0, False, 86_400.0)  # chunks of 0.96 s
    for task in planned.tasks:
        each = list(read_chunks(task, how, planned.carried, {}))
        (gathered,) = read_chunks(task, how, planned.carried, {}, most_rows=64)
        assert [one["error"][0].as_py() for one in each] == [None, "NotAudio", None, None, None]
        assert gathered.equals(pa.concat_tables(each))
