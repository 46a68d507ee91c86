"""A node proves that it sees the inputs that the driver sees."""

import os
import platform
from pathlib import Path

import pytest

from pipeline.errors import ClusterError
from pipeline.sources.plan import plan
from pipeline.sources.probe import CANDIDATES, PROBES, probes, refuse_blind_node, root_of, why_not
from pipeline.storage.access import DEFAULT
from tests.helpers.shards import write_files


@pytest.fixture(autouse=True)
def _new_process() -> None:
    why_not.cache_clear()


def test_roots() -> None:
    assert root_of("s3://key:secret@bucket/a/b.wav?endpoint_override=h:1") == "s3://bucket"
    assert root_of("http://host/a.wav") is None
    assert root_of("") is None
    assert root_of("/proc/self/status") == "/proc"
    assert root_of("file:///proc/1/status") == "/proc"
    assert root_of("/a\0b") is None


def test_locations_that_the_driver_opens(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{n}.wav": b"x" * 200_000 for n in range(20)})
    tasks = plan([str(tmp_path)], parallelism=10).tasks
    assert len(tasks) > CANDIDATES
    first = [task.units["@location"][0].as_py() for task in tasks]
    Path(first[0]).unlink()
    assert probes(tasks, DEFAULT) == {root_of(first[0]): tuple(first[1 : 1 + PROBES])}


def test_a_root_where_the_driver_opens_nothing_is_no_proof(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"x"})
    tasks = plan([str(tmp_path)]).tasks
    (tmp_path / "a.wav").unlink()
    assert probes(tasks, DEFAULT) == {}


def test_a_node_without_the_mount_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.wav": b"x", "b.wav": b""})
    seen = tuple(str(tmp_path / name) for name in ("a.wav", "b.wav"))
    refuse_blind_node({"/mnt/corpus": seen}, DEFAULT)
    why_not.cache_clear()
    os.remove(seen[0])
    refuse_blind_node({"/mnt/corpus": seen}, DEFAULT)  # one of its locations is enough
    why_not.cache_clear()
    os.remove(seen[1])
    named = rf"Node {platform.node()} does not see the inputs on /mnt/corpus, .*a\.wav: no such file"
    with pytest.raises(ClusterError, match=named):
        refuse_blind_node({"/mnt/corpus": seen}, DEFAULT)
