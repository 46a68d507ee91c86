"""What of a plan is still to be read: the files that are missing, the containers of which anything is."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources.committed import Committed, chunked
from pipeline.sources.plan import Plan, plan, remaining, unread
from pipeline.sources.task import NONE, UNIT_SCHEMA, ReadTask, packed_ids
from pipeline.storage.access import Access
from pipeline.storage.text import id_hashes
from tests.helpers.shards import read, write_files, write_tar


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    write_files(tmp_path, {f"{name}.wav": b"x" for name in "abc"})
    write_tar(tmp_path / "s.tar", [("t1.wav", b"1"), ("t2.wav", b"2")])
    write_tar(tmp_path / "z.tar", [("u1.wav", b"1")])
    return plan([str(tmp_path)], parallelism=4)


def ids(left: Plan) -> list[str]:
    return sorted(item.id for item in read(left))


def tars(planned: Plan) -> dict[str, int]:
    """The numbers of the tasks of tars; each has its own."""
    return {task.units["@id"][0].as_py(): number for number, task in enumerate(planned.tasks) if task.kind == "tar"}


def test_nothing_remains(planned: Plan) -> None:
    done = ["a.wav", "b.wav", "c.wav", "s.tar/t1.wav", "s.tar/t2.wav", "z.tar/u1.wav"]
    numbers = tars(planned)
    held = {numbers["s.tar"]: ["s.tar/t1.wav", "s.tar/t2.wav"], numbers["z.tar"]: ["z.tar/u1.wav"]}
    assert remaining(planned, pa.array(done), held).tasks == []


def test_what_is_missing_is_read_again_and_nothing_else(planned: Plan) -> None:
    numbers = tars(planned)
    held = {numbers["s.tar"]: ["s.tar/t1.wav", "s.tar/t2.wav"], numbers["z.tar"]: ["z.tar/u1.wav"]}
    left = remaining(planned, pa.array(["a.wav", "c.wav", "s.tar/t2.wav", "z.tar/u1.wav"]), held)
    assert ids(left) == ["b.wav", "s.tar/t1.wav"]
    assert sorted(row["id"] for row in unread(left)) == ["b.wav", "s.tar"]


def test_a_container_whose_reader_did_not_come_to_its_end_is_read_again(planned: Plan) -> None:
    done = pa.array(["a.wav", "b.wav", "c.wav", "s.tar/t1.wav"])
    left = remaining(planned, done, {tars(planned)["z.tar"]: []})
    assert ids(left) == ["s.tar/t2.wav"]
    assert left.recordings is None


def test_the_committed_ids_of_a_container_travel_alone() -> None:
    """Not with those of the containers that come after it."""
    names = [f"s{number:03d}.tar" for number in range(100)]
    ids = pa.array([f"{name}/{id_hashes(pa.array([f'{name}{row}']))[0].hex()}" for name in names for row in range(20)])
    units = pa.Table.from_pylist([{"@id": name, "@location": name} for name in names[3:5]], UNIT_SCHEMA)
    task = ReadTask("tar", units, pa.schema([]), NONE, True, None, Access())
    found = Committed(chunked(ids), prefixed=True).within(task)
    assert found.to_pylist() == sorted(ids[60:100].to_pylist())
    assert found.num_chunks == 2
    assert len(packed_ids(found)) < 2 * len(packed_ids(chunked(pa.array(found.to_pylist()))))


def test_hashes_of_ids() -> None:
    texts = pa.chunked_array([["a", "b"], [], ["a\0", "a", "\u00e9"]], pa.string())
    hashes = id_hashes(texts)
    assert (hashes.dtype, len(hashes)) == ("S16", 5)
    assert len(set(hashes.tolist())) == 4
    assert hashes[0] == hashes[3]
    assert len(id_hashes(pa.array([], pa.string()))) == 0
