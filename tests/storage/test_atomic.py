"""Files and objects that appear whole or not at all, whatever breaks while they are written."""

import errno
import gc
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow.fs as pafs
import pytest

from pipeline.errors import OutputError
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate
from tests.helpers.faults.puts import faulty, state, uri
from tests.helpers.faults.putter import content
from tests.helpers.s3 import s3_server

LOCAL = pafs.LocalFileSystem()
SIZE = 5_000_000
"""More than is kept in memory; one part of an upload."""
LARGE = 12_600_000
"""Two parts."""
Place = tuple[pafs.FileSystem, str]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server("bucket", {}) as endpoint:
        yield endpoint


@pytest.fixture(params=["disk", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, endpoint: str) -> Place:
    """Where "one" is."""
    where = (LOCAL, str(tmp_path / "deep" / "one"))
    if request.param == "store":
        where = locate(uri(endpoint, f"{tmp_path.name}/one"))
    write_whole(*where, lambda file: file.write(b"one"))
    return where


def held(place: Place) -> bytes:
    """What is there. No temporary file is."""
    fs, path = place
    assert [info.path for info in fs.get_file_info(pafs.FileSelector(path.rpartition("/")[0]))] == [path]
    with fs.open_input_stream(path) as file:
        return file.read()


@pytest.mark.parametrize("size", [0, LARGE])
def test_what_is_written_replaces_what_was_there(place: Place, size: int) -> None:
    write_whole(*place, lambda file: file.write(content(size)))
    assert held(place) == content(size)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("size", [3, SIZE])
def test_a_writer_that_breaks_leaves_what_was_there(place: Place, error: type[BaseException], size: int) -> None:
    def breaks(file: BinaryIO) -> None:
        file.write(content(size))
        assert held_beside(place) == b"one"
        raise error

    with pytest.raises(error):
        write_whole(*place, breaks)
    gc.collect()
    assert held(place) == b"one"


def held_beside(place: Place) -> bytes:
    with place[0].open_input_stream(place[1]) as file:
        return file.read()


@pytest.mark.parametrize("size", [3, SIZE])
def test_what_is_refused_at_the_last_moment_does_not_appear(place: Place, size: int) -> None:
    def lost() -> None:
        raise OutputError("the lock is lost")

    with pytest.raises(OutputError, match="the lock is lost"):
        write_whole(*place, lambda file: file.write(content(size)), lost)
    gc.collect()
    assert held(place) == b"one"


@pytest.mark.parametrize("interrupt_s", [0.001, 0.005, 0.02])
def test_an_interrupt_while_pyarrow_is_given_the_content(endpoint: str, interrupt_s: float) -> None:
    fs, path = locate(uri(endpoint, f"early{interrupt_s}"))
    interrupt = threading.Timer(interrupt_s, os.kill, (os.getpid(), signal.SIGINT))

    def write(file: BinaryIO) -> None:
        file.write(content(LARGE))
        interrupt.start()

    def put() -> None:
        write_whole(fs, path, write)
        interrupt.join()
        time.sleep(1)  # it comes here at the latest

    with pytest.raises(KeyboardInterrupt):
        put()
    found = state(fs, path, LARGE)
    gc.collect()
    assert found == state(fs, path, LARGE)  # nothing comes after the caller went on
    assert found in ("absent", "whole")


def test_an_interrupt_while_bytes_are_sent(endpoint: str) -> None:
    fs, path = locate(uri(endpoint, "sent"))
    with faulty(endpoint, LARGE // 2) as way:
        slow, _ = locate(uri(way.endpoint, "sent"))
        way.act = lambda: os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            write_whole(slow, path, lambda file: file.write(content(LARGE)))
    assert state(fs, path, LARGE) in ("absent", "whole")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_whole(LOCAL, str(tmp_path / "file" / "part"), lambda file: None)

    def full(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="Free some space there"):
        write_whole(LOCAL, str(tmp_path / "part"), full)


def test_a_temporary_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, store = str(tmp_path / "gone"), pafs._MockFileSystem()
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    for folder, named in ((gone, gone), (None, "any folder")):
        monkeypatch.setattr(tempfile, "tempdir", folder)
        with pytest.raises(OutputError, match=rf"^part: .* in {named} \(FileNotFoundError: .*set TMPDIR"):
            write_whole(store, "part", lambda file: file.write(content(SIZE)))
    assert store.get_file_info("part").type == pafs.FileType.NotFound
