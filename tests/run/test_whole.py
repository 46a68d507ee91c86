"""Whole recordings, part by part: the same as `Run` gives, in a fixed order, from any position."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline import open_run
from pipeline.errors import OutputError
from pipeline.run.parts import stream_part
from pipeline.run.whole import part_recordings, recordings
from pipeline.run.write import write_parts
from tests.helpers.exported import expected_codes, make_many, make_run
from tests.helpers.rows import coded_row


def codes(rows: pa.Table) -> dict[str, np.ndarray]:
    values = (np.array(row, np.int16).reshape(-1, 16) for row in rows["codes"].to_pylist())
    return dict(zip(rows["id"].to_pylist(), values, strict=True))


def test_chunks_are_joined_and_every_recording_comes_once(tmp_path: Path) -> None:
    whole = open_run(make_run(tmp_path)).whole()
    found = [codes(rows) for rows in recordings(whole)]
    expected = expected_codes()
    assert sorted(id_ for rows in found for id_ in rows) == sorted(expected)
    assert all(np.array_equal(rows[id_], expected[id_]) for rows in found for id_ in rows)
    table = pa.concat_tables(recordings(whole))
    (long,) = table.filter(pa.compute.field("id") == "long").to_pylist()
    assert (long["num_frames"], long["num_samples"], long["duration_s"]) == (5, 7780, 7780 / 24_000)
    assert (long["chunk"], long["chunks"], long["text"]) == (0, 1, "a long one")
    assert len(whole) == len(expected)


def test_parts_split_the_recordings_between_them(tmp_path: Path) -> None:
    whole = open_run(make_run(tmp_path)).whole()
    own = [stream_part(whole.fs, path) for path in whole.parts]
    apart = [[id_ for rows in part_recordings(whole, part, own[part]) for id_ in codes(rows)] for part in range(3)]
    assert [len(ids) for ids in apart] == whole.counts.tolist()
    assert [id_ for ids in apart for id_ in ids] == [id_ for rows in recordings(whole) for id_ in codes(rows)]


def test_reading_from_any_position(tmp_path: Path) -> None:
    make_many(tmp_path, 23, 5)
    whole = open_run(tmp_path).whole()
    ids = [id_ for rows in recordings(whole) for id_ in rows["id"].to_pylist()]
    for begin in range(len(ids) + 1):
        assert [id_ for rows in recordings(whole, begin) for id_ in rows["id"].to_pylist()] == ids[begin:]


def test_a_recording_that_lacks_a_chunk_is_passed_over(tmp_path: Path) -> None:
    rows = [coded_row("a", 1920), coded_row("partial", 3840, 0, 2), coded_row("tail", 100, 1, 2, 2)]
    write_parts(pa.concat_tables(rows), LocalFileSystem(), str(tmp_path))
    whole = open_run(tmp_path).whole()
    assert [rows["id"].to_pylist() for rows in recordings(whole)] == [["a"]]
    assert len(whole) == 1


def test_a_recording_whose_rows_disagree_about_its_chunks_is_passed_over_as_a_run_does(tmp_path: Path) -> None:
    torn = [coded_row("torn", 3840, 0, 2), coded_row("torn", 100, 1, 2, 2), coded_row("torn", 3840, 3, 5, 6)]
    long = [coded_row("long", 3840, 0, 2), coded_row("long", 100, 1, 2, 2)]
    for row in (*torn, *long[::-1]):
        write_parts(row, LocalFileSystem(), str(tmp_path))
    run = open_run(tmp_path)
    assert [id_ for rows in recordings(run.whole()) for id_ in rows["id"].to_pylist()] == ["long"]
    assert [recording.id for recording in run] == ["long"]


def test_parts_with_other_carried_columns(tmp_path: Path) -> None:
    write_parts(coded_row("a", 1920, n=pa.array([7], pa.int8())), LocalFileSystem(), str(tmp_path))
    write_parts(coded_row("b", 1920), LocalFileSystem(), str(tmp_path))
    table = pa.concat_tables(recordings(open_run(tmp_path).whole()))
    assert dict(zip(table["id"].to_pylist(), table["n"].to_pylist(), strict=True)) == {"a": 7, "b": None}


def test_chunks_that_are_double_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    gap = [coded_row("long", 3840, 0, 2), coded_row("long", 100, 1, 2, 3)]
    write_parts(pa.concat_tables(gap), LocalFileSystem(), str(tmp_path))
    with pytest.raises(OutputError, match="do not follow each other"):
        list(recordings(open_run(tmp_path).whole()))
    write_parts(gap[0], LocalFileSystem(), str(tmp_path))
    with pytest.raises(OutputError, match="more than once"):
        open_run(tmp_path).whole()


def test_of_several_long_recordings_the_one_that_does_not_fit_is_named(tmp_path: Path) -> None:
    long = [coded_row(f"r{number}", 1920, chunk, 3, chunk) for number in range(3) for chunk in (2, 0, 1)]
    long[3] = coded_row("r1", 1920, 2, 3, 4)
    write_parts(pa.concat_tables(long), LocalFileSystem(), str(tmp_path))
    seen, expected = [(0, 3, 0), (1, 3, 1), (2, 3, 4)], [(0, 3, 0), (1, 3, 1), (2, 3, 2)]
    with pytest.raises(OutputError) as raised:
        list(recordings(open_run(tmp_path).whole()))
    assert f"of 'r1' do not follow each other: (chunk, chunks, first_frame) is {seen}, expected {expected}." in str(
        raised.value
    )


def test_a_long_recording_over_parts_with_other_carried_columns(tmp_path: Path) -> None:
    write_parts(coded_row("long", 3840, 0, 2, n=pa.array([7], pa.int8())), LocalFileSystem(), str(tmp_path))
    write_parts(coded_row("long", 100, 1, 2, 2, text="tail"), LocalFileSystem(), str(tmp_path))
    (row,) = pa.concat_tables(recordings(open_run(tmp_path).whole())).to_pylist()
    assert (row["id"], row["num_frames"], row["n"], row["text"]) == ("long", 3, 7, None)


def test_many_long_recordings_over_many_parts(tmp_path: Path) -> None:
    """Chunks of 30 recordings, shuffled, 7 rows a part: most lie in other parts than their first."""
    random = np.random.default_rng(0)
    sizes = {f"r{number:02d}": int(random.integers(1, 9)) for number in range(30)}
    rows = [coded_row(id_, 1920, chunk, size, chunk) for id_, size in sizes.items() for chunk in range(size)]
    order = random.permutation(len(rows))
    for first in range(0, len(rows), 7):
        batch = pa.concat_tables([rows[row] for row in order[first : first + 7]])
        write_parts(batch, LocalFileSystem(), str(tmp_path))
    run = open_run(tmp_path)
    found = [codes(table) for table in recordings(run.whole())]
    joined = {id_: value for table in found for id_, value in table.items()}
    assert sum(map(len, found)) == len(joined) == len(run) == 30
    assert all(np.array_equal(joined[recording.id], recording.codes) for recording in run)
    assert {id_: len(value) for id_, value in joined.items()} == sizes
