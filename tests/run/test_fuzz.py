"""Random damage to a run's files: an error that says what to do, or the original content; repair restores the run."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

from actors.pools.arrow import CODES_TYPE
from pipeline import open_run
from pipeline.cli.show import recording_text, run_text
from pipeline.errors import OutputError, VoxmillError
from pipeline.run.committed import committed
from pipeline.run.keys import Keys
from pipeline.run.lock import locked
from pipeline.run.reader import Recording
from pipeline.run.resume import mark, resume
from pipeline.run.run_json import save
from pipeline.run.sums import checksums
from pipeline.run.totals import count
from pipeline.run.write import write_parts
from pipeline.settings import Settings
from pipeline.verify.check import check
from pipeline.verify.repair import repair
from tests.helpers.cells import TYPES, VALUES, cells
from tests.helpers.rows import coded_row, failed_row, run_record

pytestmark = pytest.mark.slow

LOCAL = LocalFileSystem()
CHUNK = 3840
DEADLINE_MS = 60_000
"""A hang; an example takes a tenth of a second on an idle machine."""
FUZZ = {"deadline": DEADLINE_MS, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run: two parts of codes with travelling columns, a recording in two chunks, two parts of failures."""
    folder = tmp_path_factory.mktemp("fuzz") / "whole"
    rows = [coded_row(f"r{i}", 1920 * (1 + i % 3) - i, text=pa.array([f"t{i}"]), n=pa.array([i])) for i in range(8)]
    long = [coded_row("long", CHUNK - c, c, 2, 2 * c, text=pa.array(["t"]), n=pa.array([9])) for c in range(2)]
    failed = [failed_row(name).append_column("text", pa.array([name])) for name in ("bad", "worse")]
    failed = [row.append_column("n", pa.array([0])) for row in failed]
    write_parts(pa.concat_tables([*rows[:4], long[0], failed[0]]), LOCAL, str(folder))
    write_parts(pa.concat_tables([*rows[4:], long[1], failed[1]]), LOCAL, str(folder))
    told = {"parts": checksums(LOCAL, str(folder), {}), "counts": count(Keys(LOCAL, str(folder)), 0)}
    made = Settings(model="demo", reconstruct=False).model_dump(mode="json")
    save(LOCAL, str(folder), run_record(settings=made, **told))
    mark(LOCAL, str(folder), complete=True)
    return folder


def copy(whole: Path) -> Path:
    run = whole.parent / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole, run)
    return run


def told(recording: Recording) -> tuple[Any, ...]:
    return (recording.id, recording.codes.tobytes(), recording.source, recording.num_samples, str(recording.carried))


def or_error(read: Callable[[], Any]) -> Any:
    """The result of `read`, or None if it raises a VoxmillError."""
    said = ""
    try:
        return read()
    except VoxmillError as error:
        said = str(error)
    assert said.isprintable()
    return None


def use(run: Path) -> dict[str, Any]:
    """The results of all functions that read a run, by name."""
    found = {
        "iterate": or_error(lambda: [told(recording) for recording in open_run(run)]),
        "one": or_error(lambda: [told(open_run(run)[id_]) for id_ in ("r1", "long") if id_ in open_run(run)]),
        "failures": or_error(lambda: open_run(run).failures().to_pylist()),
        "table": or_error(lambda: open_run(run).table(["id", "n"])),
        "dataset": or_error(lambda: open_run(run).dataset()),
        "show": or_error(lambda: run_text(open_run(run)).encode()),
        "show id": or_error(lambda: recording_text(open_run(run), "r1").encode()),
        "summary": or_error(lambda: open_run(run).summary()),
        "committed": or_error(lambda: committed(Keys(LOCAL, str(run)))),
        "resume": or_error(lambda: resume(LOCAL, str(run), run_record())),
    }
    problems = check(run).problems
    assert problems or None not in (found[name] for name in found if name not in ("resume", "show id", "one"))
    return found


LEFT = ("of 2 chunks", "'running'", "_SUCCESS is missing")
"""What a rerun of tokenize does."""


def mended(run: Path) -> None:
    """After repair only a rerun is missing, and everything can be read."""
    said = ""
    try:
        repair(run)
    except OutputError as error:
        said = str(error)
    if said:
        assert "run.json is not what a run writes" in said
        return
    assert [line for line in check(run).problems if not any(text in line for text in LEFT)] == []
    committed(Keys(LOCAL, str(run)))
    open_run(run).failures()
    assert len(list(open_run(run))) == len(open_run(run))


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "insert", "delete", "move", "cut"]),
        st.floats(0, 1, exclude_max=True),  # where
        st.booleans(),  # in the footer
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[str, float, bool, bytes]]) -> bytes:
    for kind, where, in_footer, new in edits:
        size = len(content)
        footer = 8 + int.from_bytes(content[-8:-4], "little") if content[-4:] == b"PAR1" else size
        begin = max(0, size - footer) if in_footer else 0
        at = begin + int(where * (size - begin))
        match kind:
            case "set":
                content = content[:at] + new + content[at + len(new) :]
            case "flip":
                content = content[:at] + bytes([content[at] ^ 1 << new[0] % 8]) + content[at + 1 :] if size else new
            case "insert":
                content = content[:at] + new + content[at:]
            case "delete":
                content = content[:at] + content[at + len(new) :]
            case "move":
                content = content[at:] + content[:at]
            case "cut":
                content = content[:at]
    return content


@settings(max_examples=35, **FUZZ)
@given(file=st.integers(0, 3), edits=EDITS)
def test_bytes_of_parts(whole: Path, file: int, edits: list[tuple[str, float, bool, bytes]]) -> None:
    run = copy(whole)
    path = sorted([*(run / "codes").iterdir(), *(run / "failures").iterdir()])[file]
    before = path.read_bytes()
    path.write_bytes(edited(before, edits))
    found = use(run)
    right = {row[0]: row for row in (told(recording) for recording in open_run(whole))}
    assert {row for name in ("iterate", "one") for row in found[name] or []} <= set(right.values())
    assert found["iterate"] is None or len(found["iterate"]) == len(right)
    assert found["failures"] in (None, open_run(whole).failures().to_pylist())
    if path.read_bytes() != before:
        mended(run)


def change(rows: pa.Table, what: str, name: str, kind: pa.DataType, values: list[Any]) -> pa.Table:
    column = cells(kind, [values[i % len(values)] for i in range(len(rows))])
    index = rows.column_names.index(name)
    match what:
        case "retype":
            return rows.set_column(index, name, column)
        case "values":
            values = cells(rows.schema.field(index).type, [values[i % len(values)] for i in range(len(rows))])
            return rows.set_column(index, name, values)
        case "drop":
            return rows.drop_columns([name])
        case "again":
            return rows.append_column(name, column)
        case _:
            return rows.append_column(what, column)


@settings(max_examples=35, **FUZZ)
@given(
    data=st.data(),
    file=st.integers(0, 3),
    what=st.sampled_from(["retype", "retype", "values", "values", "drop", "again", "id.x", "", "__fragment_index"]),
    kind=st.sampled_from(TYPES),
    values=st.lists(st.sampled_from(VALUES), min_size=1, max_size=5),
    beside=st.booleans(),
)
def test_hostile_schemas(
    whole: Path, data: st.DataObject, file: int, what: str, kind: pa.DataType, values: list[Any], beside: bool
) -> None:
    run = copy(whole)
    path = sorted([*(run / "codes").iterdir(), *(run / "failures").iterdir()])[file]
    rows = pq.read_table(path)
    rows = change(rows, what, data.draw(st.sampled_from(rows.column_names)), kind, values)
    target = path.with_name("part-beside.parquet") if beside else path
    try:
        pq.write_table(rows, target, store_schema=data.draw(st.booleans()))
    except pa.ArrowException:  # types that Parquet does not have
        target.write_bytes(b"PAR1")
    use(run)
    mended(run)


def at(content: Any, path: list[int]) -> tuple[Any, Any]:
    """A place in nested JSON: the section, and the key or index in it."""
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    key = keys[path[0] % len(keys)]
    if len(path) > 1 and isinstance(content[key], dict | list) and content[key]:
        return at(content[key], path[1:])
    return content, key


JSON = (None, True, -1, 1.5, 10**30, "", "\x1b[2J", "~nobody/x", "nul\0", "x" * 5000, [], {}, [1], {"a": 1}, [[]])


@settings(max_examples=35, **FUZZ)
@given(
    places=st.lists(st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=3), st.sampled_from(JSON)), max_size=3),
    drop=st.booleans(),
    edits=st.just([]) | EDITS,
)
def test_run_json(
    whole: Path, places: list[tuple[list[int], Any]], drop: bool, edits: list[tuple[str, float, bool, bytes]]
) -> None:
    run = copy(whole)
    content = json.loads((run / "run.json").read_text())
    for path, value in places:
        section, key = at(content, path)
        section[key] = deepcopy(value)  # the same list may be drawn twice: once inside of itself
        if drop:
            del section[key]
    (run / "run.json").write_bytes(edited(json.dumps(content).encode(), edits))
    found = use(run)
    assert len(found["iterate"]) == 9
    mended(run)


@pytest.mark.parametrize("size", [0, 1, 4, 7, 8, 11, 12, 100])
def test_files_of_magic_bytes(whole: Path, size: int) -> None:
    run = copy(whole)
    path = next((run / "codes").iterdir())
    for content in (b"PAR1" * size, b"PARE" * size, b"PAR1" + b"\xff" * size + b"PAR1"):
        path.write_bytes(content)
        assert use(run)["iterate"] is None
    mended(run)


def test_a_part_of_countless_equal_rows(whole: Path) -> None:
    """A hundred kilobytes that would fill the memory when they are read."""
    run = copy(whole)
    path = next((run / "codes").iterdir())
    row = pq.read_table(path).slice(0, 1)
    equal = {name: pa.repeat(row[name][0], 2_000_000) for name in row.column_names if name != "codes"}
    equal["codes"] = pa.nulls(2_000_000, CODES_TYPE)
    pq.write_table(pa.table(equal), path, compression="zstd")
    assert path.stat().st_size < 150_000
    assert use(run)["committed"] is None
    with pytest.raises(OutputError, match=r"1048576 rows in \d+ bytes"):
        open_run(run).table()
    mended(run)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"[" * 100_000, b"\xff", b'{"pid": 1}', b'{"host": "h", "pid": "x", "beat": 0}', b'{"host": 3}']
    + [b'{"host": "h", "pid": %d, "beat": 0}' % pid for pid in (-1, 0, 10**30)],
)
def test_a_lock_that_no_writer_wrote_is_taken_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with locked(LOCAL, str(tmp_path)) as lock:
        lock.check()
        assert not (tmp_path / ".lock").exists()
