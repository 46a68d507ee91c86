"""A file read ahead has the bytes of the file, whoever reads it how; its first block costs one request."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline.storage.read_ahead import ReadAhead

BLOCK = 1000


class Asked:
    """An open file that counts what it is asked for. Behind its first block it answers once `together` have asked."""

    def __init__(self, file: pa.NativeFile, together: int = 1) -> None:
        self.file, self.places, self.together = file, list[int](), together
        self.met = threading.Event()

    def read_at(self, size: int, place: int) -> bytes:
        self.places.append(place)
        if len(self.places) > self.together:
            self.met.set()
        assert not place or self.met.wait(timeout=10)
        return self.file.read_at(size, place)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def opened(tmp_path: Path, content: bytes, together: int = 1) -> tuple[ReadAhead, Asked]:
    (tmp_path / "x").write_bytes(content)
    asked = Asked(LocalFileSystem().open_input_file(str(tmp_path / "x")), together)
    return ReadAhead(asked, BLOCK), asked


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 3])
@pytest.mark.parametrize("at_a_time", [1, 700, BLOCK, 3 * BLOCK])
def test_the_bytes_are_those_of_the_file(tmp_path: Path, size: int, at_a_time: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    with opened(tmp_path, content)[0] as file:
        assert b"".join(iter(lambda: file.read(at_a_time), b"")) == content


def test_the_first_block_is_one_request_and_the_next_are_asked_for_together(tmp_path: Path) -> None:
    file, asked = opened(tmp_path, bytes(5 * BLOCK), together=2)
    with file:
        file.read(1)
        assert asked.places == [0]
        assert len(file.read(2 * BLOCK)) == BLOCK - 1
        assert len(file.read(2 * BLOCK)) == BLOCK
        assert len(asked.places) >= 3
    assert asked.closed
