"""`run.to_pandas`: one row a recording, whatever the chunks."""

from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from pipeline import open_run
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from tests.helpers.rows import coded_row, run_record

LOCAL = LocalFileSystem()
CHUNK = 3840


def test_a_row_a_recording(tmp_path: Path) -> None:
    long = [coded_row("long", CHUNK if chunk < 2 else 100, chunk, 3, 2 * chunk) for chunk in range(3)]
    partial = coded_row("partial", CHUNK, 0, 2)
    short = coded_row("a", 5000, text=pa.array(["hello"]), channel=pa.array([2], pa.int32()))
    for rows in ([long[2], partial], [long[0], short], [long[1]]):
        write_parts(pa.concat_tables(rows, promote_options="permissive"), LOCAL, str(tmp_path))
    run = open_run(tmp_path)
    frame = run.to_pandas().set_index("id")
    assert sorted(frame.index) == ["a", "long"]
    assert frame.loc["long", ["num_samples", "num_frames", "chunks"]].tolist() == [2 * CHUNK + 100, 5, 3]
    assert frame.loc["long", "duration_s"] == (2 * CHUNK + 100) / 24_000
    assert frame.loc["a", ["num_samples", "text", "channel"]].tolist() == [5000, "hello", 2]
    assert pandas.isna(frame.loc["long", ["text", "channel"]]).all()
    assert not {"codes", "chunk", "first_frame"} & set(frame.columns)
    with_codes = run.to_pandas(codes=True).set_index("id")
    for id_ in frame.index:
        assert np.array_equal(with_codes.loc[id_, "codes"], run[id_].codes)


def test_a_run_without_recordings(tmp_path: Path) -> None:
    save(LOCAL, str(tmp_path), run_record(state="running", attempts=[]))
    assert open_run(tmp_path).to_pandas(codes=True).empty


def test_values_that_python_cannot_hold(tmp_path: Path) -> None:
    far = {"when": pa.array([3_000_000], pa.date32()), "zone": pa.array([0], pa.timestamp("us", "Nowhere/Land"))}
    write_parts(coded_row("a", 1920, text="hello", **far), LOCAL, str(tmp_path))
    (row,) = open_run(tmp_path).to_pandas().to_dict("records")
    assert (row["text"], row["num_samples"]) == ("hello", 1920)
    (item,) = open_run(tmp_path).torch_dataset(columns=["when", "zone", "text"])
    assert (item["text"], type(item["when"])) == ("hello", str)
