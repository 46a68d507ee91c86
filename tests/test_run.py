"""Reading runs back: whole recordings, single ids, tables; other readers of the same files."""

from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem
from rows import coded_row, codes_of, failed_row

from pipeline import open_run
from pipeline.errors import InputError, OutputError
from pipeline.finish import committed, count, settle
from pipeline.schema import CODES_SCHEMA
from pipeline.write import parts, write_parts

LOCAL = LocalFileSystem()
CHUNK = 3840


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two short recordings, a long one whose chunks lie in three parts in disorder, a failure."""
    long = [coded_row("long", CHUNK if chunk < 2 else 100, chunk, 3, 2 * chunk) for chunk in range(3)]
    for rows in ([coded_row("a", 1920), long[2]], [long[0], failed_row("bad")], [coded_row("b/c", 5000), long[1]]):
        write_parts(pa.concat_tables(rows), LOCAL, str(tmp_path))
    return tmp_path


def test_iterating_yields_whole_recordings_once(run_folder: Path) -> None:
    run = open_run(run_folder)
    found = {recording.id: recording for recording in run}
    assert sorted(found) == ["a", "b/c", "long"]
    assert len(run) == 3
    assert found["long"].codes.shape == (5, 16)
    assert found["long"].codes.dtype == np.int16
    assert np.array_equal(found["long"].codes, np.concatenate([codes_of(2, 0), codes_of(2, 1), codes_of(1, 2)]))
    assert (found["long"].num_samples, found["long"].wave) == (2 * CHUNK + 100, None)


def test_one_recording_by_id(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert np.array_equal(run["long"].codes, next(r for r in run if r.id == "long").codes)
    assert "a" in run
    with pytest.raises(KeyError, match="bad"):
        run["bad"]


def test_table_and_failures(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert run.table().schema.equals(CODES_SCHEMA)
    assert run.table(["id"]).num_rows == 5
    assert run.failures().to_pylist() == [
        {"id": "bad", "source": "bad.source", "stage": "read", "error": "NotAudio", "message": "bad is broken"}
    ]


def test_a_recording_that_lacks_a_chunk_is_not_shown(tmp_path: Path) -> None:
    write_parts(pa.concat_tables([coded_row("a", 1), coded_row("long", CHUNK, 0, 2)]), LOCAL, str(tmp_path))
    run = open_run(tmp_path)
    assert [recording.id for recording in run] == ["a"]
    assert "long" not in run
    done = committed(LOCAL, str(tmp_path))
    assert (done.ids.to_pylist(), done.partial) == (["a"], {"long": frozenset({0})})


def test_settling_moves_a_broken_long_recording_to_failures(run_folder: Path) -> None:
    write_parts(failed_row("long", "DeviceOutOfMemory"), LOCAL, str(run_folder))
    write_parts(failed_row("long", "NotAudio"), LOCAL, str(run_folder))
    changed = settle(LOCAL, str(run_folder))
    run = open_run(run_folder)
    assert sorted(recording.id for recording in run) == ["a", "b/c"]
    assert sorted(run.table(["id"])["id"].to_pylist()) == ["a", "b/c"]
    assert sorted(run.failures()["id"].to_pylist()) == ["bad", "long"]
    names = {Path(path).name for path in parts(LOCAL, str(run_folder), "codes")}
    assert {name for name, sha256 in changed.items() if sha256} == names
    counts = count(LOCAL, str(run_folder), context_samples=1920)
    assert (counts["recordings"], counts["chunks"], counts["context_s"]) == (2, 2, 0.0)


def test_context_is_counted(run_folder: Path) -> None:
    assert count(LOCAL, str(run_folder), context_samples=5760)["context_s"] == (3840 + 5760) / 24_000


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        open_run(tmp_path / "nothing")
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(OutputError, match="column 'source' is missing"):
        open_run(tmp_path / "other.parquet")


def test_a_single_parquet_file_is_enough(run_folder: Path) -> None:
    pq.write_table(open_run(run_folder).table(), run_folder / "all.parquet")
    assert len(open_run(run_folder / "all.parquet")) == 3


def test_five_readers_see_frames_by_16(run_folder: Path) -> None:
    import datasets

    part = str(
        next(
            Path(path)
            for path in parts(LOCAL, str(run_folder), "codes")
            if "a" in pq.read_table(path)["id"].to_pylist()
        )
    )
    expected = codes_of(1).tolist()
    assert pq.read_table(part).filter(pa.compute.field("id") == "a")["codes"].to_pylist() == [expected]
    rows = duckdb.sql(f"select codes from '{part}' where id = 'a'").fetchall()
    assert [list(map(list, row[0])) for row in rows] == [expected]
    assert polars.read_parquet(part).filter(polars.col("id") == "a")["codes"].to_list() == [expected]
    frame = pandas.read_parquet(part).set_index("id")
    assert np.stack(frame.loc["a", "codes"]).tolist() == expected
    loaded = datasets.Dataset.from_parquet(part, cache_dir=str(run_folder / "cache"))
    assert [row["codes"] for row in loaded if row["id"] == "a"] == [expected]
