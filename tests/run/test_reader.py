"""Reading runs back: whole recordings, single ids, tables; other readers of the same files."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from typer.testing import CliRunner

from pipeline import open_run
from pipeline.cli.main import app
from pipeline.cli.show import recording_text, run_text
from pipeline.errors import InputError, OutputError
from pipeline.flow import make_waves
from pipeline.run.committed import committed
from pipeline.run.keys import Keys
from pipeline.run.layout import FILES, parts
from pipeline.run.parts import read_part
from pipeline.run.resume import clear, resume
from pipeline.run.run_json import save
from pipeline.run.settle import settle
from pipeline.run.sums import checksums
from pipeline.run.totals import count
from pipeline.run.write import write_parts
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.settings import Settings
from pipeline.waves import _chunks
from tests.helpers.damage import (
    IN_CODES,
    IN_FAILURES,
    a_bit,
    foreign,
    null_codes,
    other_codes,
    part_of,
    put,
    short_codes,
)
from tests.helpers.rows import coded_row, codes_of, failed_row, run_record

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


def test_which_ids_a_run_holds(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(run_folder)
    assert run.holding(["long", "bad", "gone", 5, "a"]) == {"long", "a"}  # type: ignore[list-item]
    assert run.holding([]) == set()
    asked: list[list[str]] = []
    decoded = Mock(side_effect=lambda run, ids, *rest: asked.append(ids) or Mock(failures=[]))
    monkeypatch.setattr("pipeline.waves.decode_codes", decoded)
    job = Mock(run=str(run_folder), fs=LOCAL, waves=FILES)
    assert make_waves(job, str(run_folder), ["gone", "bad"]) == []  # whose codes went with another chunk's failure
    assert make_waves(job, str(run_folder), ["gone", "long"]) == []
    assert asked == [["long"]]
    write_parts(coded_row("torn", CHUNK, 0, 2), LOCAL, str(run_folder))
    assert make_waves(job, str(run_folder), None) == []
    assert sorted(asked[1]) == ["a", "b/c", "long"]  # each once


def test_one_recording_by_id(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert np.array_equal(run["long"].codes, next(r for r in run if r.id == "long").codes)
    assert "a" in run
    with pytest.raises(KeyError, match=r"'bad' failed in .*: NotAudio: "):
        run["bad"]
    with pytest.raises(KeyError, match="holds no whole recording 'c'"):
        run["c"]
    write_parts(coded_row("c", 1920), LOCAL, str(run_folder))
    with pytest.raises(KeyError, match=r"'c': .* has changed since it was opened; open it again"):
        run["c"]


def test_codes_may_be_written_to(run_folder: Path) -> None:
    """torch.from_numpy warns of arrays that may not."""
    run = open_run(run_folder)
    assert all(one.codes.flags.writeable and one.codes.base is None for one in [*run, run["a"], run["long"]])


def test_a_run_that_was_made_anew_since_it_was_opened(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert len(run) == 3
    for path in run.paths:
        Path(path).unlink()
    with pytest.raises(
        OutputError, match=r"no such file or folder\. The run was changed since it was opened: open it again"
    ):
        list(run)


def test_table_and_failures(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert run.table().schema.equals(CODES_SCHEMA)
    assert run.table(["id"]).num_rows == 5
    (failure,) = run.failures().to_pylist()
    assert {"id": "bad", "stage": "read", "error": "NotAudio", "message": "bad is broken"}.items() <= failure.items()
    assert run.failures().schema.equals(FAILURES_SCHEMA)


def test_parts_without_fingerprints_are_read(tmp_path: Path) -> None:
    """Those of other writers, say."""
    row = coded_row("a", 1920).drop_columns(["source_size", "source_version", "start_s", "end_s"])
    (tmp_path / "codes").mkdir()
    pq.write_table(row.drop_columns(["stage", "error", "message"]), tmp_path / "codes" / "part-0.parquet")
    run = open_run(tmp_path)
    assert run.table().select(CODES_SCHEMA.names).schema.equals(CODES_SCHEMA)
    assert (next(iter(run)).id, run["a"].start_s) == ("a", None)
    assert run.table(["id", "source_size"]).to_pylist() == [{"id": "a", "source_size": None}]
    assert len(run.dataset().to_table()) == 1


def test_some_recordings_read_only_their_parts(run_folder: Path) -> None:
    run = open_run(run_folder)
    wanted = [recording.id for recording in run][1:]
    assert sorted(recording.id for recording in run.some(wanted)) == sorted(wanted)
    assert list(run.some(["nobody"])) == []


def test_some_takes_any_iterable_but_no_single_id(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert sorted(recording.id for recording in run.some(id_ for id_ in ("a", "long"))) == ["a", "long"]
    with pytest.raises(InputError, match=r"'long' is one\. Use run\['long'\]"):
        run.some("long")


def test_recordings_can_be_compared_and_hashed(run_folder: Path) -> None:
    run = open_run(run_folder)
    one, same = run["a"], run["a"]
    assert (one == one, one == same, len({one, same})) == (True, False, 2)


@pytest.mark.parametrize("key", [0, slice(3), None, ["a"], b"a"])
def test_ids_are_strings(run_folder: Path, key: Any) -> None:
    run = open_run(run_folder)
    with pytest.raises(TypeError, match=r"ids are strings.*run\.torch_dataset\(\)"):
        run[key]
    assert key not in run


def test_a_single_column(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert run.table("id").equals(run.table(["id"]))
    assert run.table(("id", "source")).column_names == ["id", "source"]
    with pytest.raises(InputError, match="has no column 'text'"):
        run.table("text")


def test_a_column_of_a_run_without_codes(tmp_path: Path) -> None:
    write_parts(failed_row("bad"), LOCAL, str(tmp_path))
    save(LOCAL, str(tmp_path), run_record())
    run = open_run(tmp_path)
    assert run.table(["id", "codes"]).num_rows == 0
    with pytest.raises(InputError, match="has no column 'text'"):
        run.table("text")


def test_a_recording_that_lacks_a_chunk_is_not_shown(tmp_path: Path) -> None:
    write_parts(pa.concat_tables([coded_row("a", 1), coded_row("long", CHUNK, 0, 2)]), LOCAL, str(tmp_path))
    run = open_run(tmp_path)
    assert [recording.id for recording in run] == ["a"]
    assert "long" not in run
    done = committed(Keys(LOCAL, str(tmp_path)))
    assert (done.ids.to_pylist(), done.partial) == (["a"], {"long": frozenset({0})})


def test_settling_moves_a_broken_long_recording_to_failures(run_folder: Path) -> None:
    lacks_two = pa.concat_tables([coded_row("broken", CHUNK, 0, 4), coded_row("broken", CHUNK, 1, 4, 2)])
    write_parts(lacks_two, LOCAL, str(run_folder))
    write_parts(failed_row("broken", "DeviceOutOfMemory"), LOCAL, str(run_folder))
    write_parts(failed_row("broken", "NotAudio"), LOCAL, str(run_folder))
    before = {Path(path).name for path in parts(LOCAL, str(run_folder), "codes")}
    changed = settle(Keys(LOCAL, str(run_folder))).parts
    run = open_run(run_folder)
    assert sorted(recording.id for recording in run) == ["a", "b/c", "long"]
    assert sorted(run.table(["id"])["id"].to_pylist()) == ["a", "b/c", *["long"] * 3]
    assert sorted(run.failures()["id"].to_pylist()) == ["bad", "broken"]
    gone = before - {Path(path).name for path in parts(LOCAL, str(run_folder), "codes")}
    assert len(gone) == 1
    assert changed == dict.fromkeys(gone)
    assert settle(Keys(LOCAL, str(run_folder))).parts == {}


def test_settling_keeps_one_of_what_is_double_and_whole(run_folder: Path) -> None:
    again = pa.concat_tables([coded_row("a", 1920), coded_row("long", CHUNK, 1, 3, 2), coded_row("new", 9)])
    write_parts(again, LOCAL, str(run_folder))
    write_parts(pa.concat_tables([failed_row("a"), failed_row("long"), failed_row("bad")]), LOCAL, str(run_folder))
    changed = settle(Keys(LOCAL, str(run_folder))).parts
    run = open_run(run_folder)
    assert sorted(recording.id for recording in run) == ["a", "b/c", "long", "new"]
    assert len(run.table(["id"])) == 6
    assert run.failures()["id"].to_pylist() == ["bad"]
    assert all(checksums(LOCAL, str(run_folder), {})[name] == sha256 for name, sha256 in changed.items() if sha256)
    assert settle(Keys(LOCAL, str(run_folder))).parts == {}
    counts = count(Keys(LOCAL, str(run_folder)), context_samples=1920)
    assert (counts["recordings"], counts["chunks"], counts["context_s"]) == (4, 6, 0.16)


def test_context_is_counted(run_folder: Path) -> None:
    assert count(Keys(LOCAL, str(run_folder)), context_samples=5760)["context_s"] == (3840 + 5760) / 24_000


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


def test_columns_of_several_parts(run_folder: Path) -> None:
    more = {"n": pa.array([7], pa.int8()), "far": pa.array([2**62], pa.timestamp("us"))}
    write_parts(coded_row("z", 1920, **more), LOCAL, str(run_folder))
    run = open_run(run_folder)
    assert run["z"].carried == {"n": 7, "far": "[ <value out of range: 4611686018427387904> ]"}
    rows = run.table(["id", "n"]).sort_by("id").to_pylist()
    assert (rows[0], rows[-1]) == ({"id": "a", "n": None}, {"id": "z", "n": 7})
    assert run.dataset().to_table(columns=["n"]).num_rows == 6
    with pytest.raises(InputError, match="has no column 'm'"):
        run.table(["id", "m"])
    write_parts(coded_row("y", 1920, n=pa.array(["text"])), LOCAL, str(run_folder))
    with pytest.raises(OutputError, match="types that cannot be combined"):
        open_run(run_folder).table()


def test_types_of_other_writers_are_read(run_folder: Path) -> None:
    """Filtered with pandas or Polars and written again, codes come in wider lists and integers."""
    run = open_run(run_folder)
    (run_folder / "other").mkdir()
    pandas.read_parquet(part_of(run_folder, "a")).to_parquet(run_folder / "other" / "pandas.parquet")
    polars.read_parquet(part_of(run_folder, "b/c")).write_parquet(run_folder / "other" / "polars.parquet")
    put(run_folder / "other" / "pandas.parquet", "num_samples", pa.array([1920, 100], pa.int32()))
    again = open_run(run_folder / "other")
    assert {r.id: r.codes.tolist() for r in again} == {id_: run[id_].codes.tolist() for id_ in ("a", "b/c")}
    assert again.table().schema.equals(CODES_SCHEMA)


# ---- damage

READS: dict[str, Callable[[Path], Any]] = {
    "iterate": lambda run: list(open_run(run)),
    "one": lambda run: open_run(run)["a"],
    "show id": lambda run: recording_text(open_run(run), "a"),
    "decode": lambda run: list(_chunks(str(run), None, 2, 0)),
    "table": lambda run: open_run(run).table(),
}
"""What reads codes."""
KEYS: dict[str, Callable[[Path], Any]] = {
    "len": lambda run: len(open_run(run)),
    "show": lambda run: run_text(open_run(run)),
    "committed": lambda run: committed(Keys(LOCAL, str(run))),
    "count": lambda run: count(Keys(LOCAL, str(run)), 0),
}
"""What reads ids, chunks and lengths alone."""
CODES_ALONE = (a_bit, null_codes, short_codes, other_codes)


@pytest.mark.parametrize("damage", IN_CODES, ids=lambda function: function.__name__)
def test_a_damaged_part_is_named(run_folder: Path, damage: Callable[[Path], None]) -> None:
    hurt = part_of(run_folder, "a").name if damage is not foreign else "part-0000.parquet"
    whole = open_run(run_folder)["b/c"].codes
    damage(run_folder)
    for name, read in (READS | KEYS).items():
        if name in KEYS and damage in CODES_ALONE:
            read(run_folder)
            continue
        with pytest.raises(OutputError, match=rf"(?s){hurt}.*voxmill check RUN --repair"):
            read(run_folder)
    (run_folder / "codes" / hurt).rename(run_folder / "aside")
    assert np.array_equal(open_run(run_folder)["b/c"].codes, whole)


def test_parquet_that_is_no_run(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a table of somebody's"]}), tmp_path / "table.parquet")
    for place in (tmp_path, tmp_path / "table.parquet"):
        with pytest.raises(OutputError, match=r"'id' is missing\)\. Expected a run, or whole Parquet files with its"):
            open_run(place)


def test_a_copied_part_is_told(run_folder: Path) -> None:
    shutil.copy(part_of(run_folder, "a"), run_folder / "codes" / "part-copy.parquet")
    for name in ("iterate", "one", "show id", "decode", "len", "show"):
        with pytest.raises(OutputError, match=r"2 chunks more than once.*: 2 times.*voxmill check RUN --repair"):
            (READS | KEYS)[name](run_folder)
    assert open_run(run_folder).table().num_rows == 7  # as it is there


def test_chunks_that_do_not_follow_each_other(run_folder: Path) -> None:
    path = part_of(run_folder, "long", 1)
    ids = pq.read_table(path)["id"].to_pylist()
    put(path, "first_frame", pa.array([1 if id_ == "long" else 0 for id_ in ids]))
    for read in (lambda: list(open_run(run_folder)), lambda: open_run(run_folder)["long"]):
        with pytest.raises(OutputError, match=r"the chunks of 'long' do not follow each other.*\(1, 3, 1\)"):
            read()


@pytest.mark.parametrize("damage", IN_FAILURES, ids=lambda function: function.__name__)
def test_a_damaged_part_of_failures_is_named(run_folder: Path, damage: Callable[[Path], None]) -> None:
    (run_folder / "run.json").write_text(json.dumps(run_record()))
    name = next((run_folder / "failures").iterdir()).name
    damage(run_folder)
    for read in (
        lambda run: run.failures(),
        lambda run: run_text(run),
        lambda run: recording_text(run, "bad"),
    ):
        with pytest.raises(OutputError, match=rf"failures/{name}.*voxmill check RUN --repair"):
            read(open_run(run_folder))
    with pytest.raises(OutputError, match=rf"failures/{name}.*voxmill check RUN --repair"):
        committed(Keys(LOCAL, str(run_folder)))
    assert len(open_run(run_folder)) == 3


def without(*path: str) -> bytes:
    content = run_record()
    section = content
    for key in path[:-1]:
        section = section[key]
    del section[path[-1]]
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no JSON"),
        (b'{"state": "running"', "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b'{"state": NaN}', "no JSON"),
        (b'{"state": "\\ud800"}', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "a JSON list"),
        (b"null", "a JSON NoneType"),
        (b"{}", "inputs: Field required.*settings: Field required"),
        *((without(key), f"{key}: Field required") for key in run_record()),
        (without("model", "sha256"), "model.sha256: Field required"),
        (without("settings", "model"), "settings.model: Field required"),
        (json.dumps(run_record(inputs="corpus/")).encode(), "inputs: Input should be a valid list"),
        (json.dumps(run_record(model="demo")).encode(), "model: Input should be a valid"),
        (json.dumps(run_record(state="done")).encode(), "state: Input should be 'running', 'limited' or 'complete'"),
        (json.dumps(run_record(chunk={"samples": 0, "context_samples": 0})).encode(), "chunk.samples: Input should"),
        (
            json.dumps(run_record(chunk={"samples": 1, "context_samples": 10**30})).encode(),
            "chunk.context_samples: Input",
        ),
        (json.dumps(run_record(parts=["x"])).encode(), "parts: Input should be a valid dict"),
        (json.dumps(run_record(counts={"recordings": "many"})).encode(), "counts.recordings: Input should be a valid"),
        (json.dumps(run_record(attempts=[{}])).encode(), "attempts.0.started: Field required"),
    ],
)
def test_a_damaged_run_json_is_named(run_folder: Path, content: bytes, says: str) -> None:
    (run_folder / "run.json").write_bytes(content)
    run = open_run(run_folder)
    assert len(list(run)) == 3  # the parts need no run.json
    for read in (
        run.summary,
        lambda: run_text(run),
        lambda: resume(LOCAL, str(run_folder), run_record()),
        lambda: CliRunner().invoke(app, ["show", str(run_folder)], catch_exceptions=False),
        lambda: CliRunner().invoke(app, ["retry", str(run_folder)], catch_exceptions=False),
        lambda: CliRunner().invoke(app, ["decode", str(run_folder), "--out", "w"], catch_exceptions=False),
    ):
        with pytest.raises(OutputError, match=rf"(?s)run\.json is not what a run writes: .*{says}.*--overwrite"):
            read()
    clear(LOCAL, str(run_folder))  # what --overwrite does
    assert list(run_folder.iterdir()) == []


@pytest.mark.parametrize("name", ["run.json", "report.html", "_SUCCESS"])
def test_a_file_of_a_run_is_not_the_run(run_folder: Path, name: str) -> None:
    (run_folder / name).touch()
    with pytest.raises(InputError, match=rf"{name} is a file of a run; expected the folder of the run: {run_folder}$"):
        open_run(run_folder / name)


class Locked(SubTreeFileSystem):
    """Folders of parts that cannot be listed, parts that cannot be opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), LOCAL)

    def get_file_info(self, what: Any) -> Any:
        raise PermissionError(13, "Permission denied", what.base_dir)

    def open_input_file(self, path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)


def test_parts_that_may_not_be_read_are_not_called_torn(run_folder: Path) -> None:
    store = Locked(run_folder)
    for folder in ("codes", "failures"):
        with pytest.raises(OutputError, match=f"^run/{folder}: permission denied"):
            parts(store, "run", folder)
    name = f"codes/{part_of(run_folder, 'a').name}"
    with pytest.raises(OutputError, match=f"^{name}: permission denied") as raised:
        read_part(store, name, CODES_SCHEMA)
    assert "--repair" not in str(raised.value)


def test_run_json_is_a_folder(run_folder: Path) -> None:
    (run_folder / "run.json").mkdir()
    with pytest.raises(OutputError, match=r"run\.json"):
        open_run(run_folder).summary()


def test_a_run_that_has_just_begun_can_be_shown(tmp_path: Path) -> None:
    save(LOCAL, str(tmp_path), run_record(state="running", attempts=[], parts=checksums(LOCAL, str(tmp_path), {})))
    told = run_text(open_run(tmp_path))
    assert re.search(r"^state +running$", told, re.M)
    assert re.search(r"^settings +the defaults$", told, re.M)
    changed = Settings(precision="bf16").model_dump(mode="json") | {"max_failures": "5%"}
    save(LOCAL, str(tmp_path), run_record(settings=changed, parts=checksums(LOCAL, str(tmp_path), {})))
    assert re.search(r"^settings +precision=bf16, max_failures=5%$", run_text(open_run(tmp_path)), re.M)


def test_what_is_shown_moves_no_terminal(tmp_path: Path) -> None:
    escape = "\x1b[2J\x1b]0;title\x07"
    write_parts(coded_row("a", 1920, text=pa.array([escape])), LOCAL, str(tmp_path))
    failed = failed_row("b").set_column(1, "source", pa.array([escape]))
    failed = failed.set_column(failed.column_names.index("message"), "message", pa.array([escape]))
    write_parts(failed, LOCAL, str(tmp_path))
    save(LOCAL, str(tmp_path), run_record(inputs=[escape], warnings=[escape]))
    run = open_run(tmp_path)
    told = run_text(run) + recording_text(run, "a") + recording_text(run, "b")
    assert told.count(r"\x1b[2J") == 5
    assert "\x1b" not in told
