"""WebDataset: tar shards of <key>.npy, int16 [F, 16], and <key>.json, everything else of the row.

The keys are those of the run's shards of waves; the id as it was is in the JSON.
"""

import io
import tarfile
from typing import BinaryIO

import numpy as np

from pipeline.export.json_line import json_line
from pipeline.export.shard import Format, Shard
from pipeline.run.layout import sample_key


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file; without times and owners, so that equal rows make equal tars."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def npy_bytes(array: np.ndarray) -> bytes:
    """The array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _write(shard: Shard) -> None:
    def fill(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for record in shard.records():
                add_member(tar, f"{sample_key(record.id)}.npy", npy_bytes(record.codes))
                add_member(tar, f"{sample_key(record.id)}.json", json_line({**record.row, **record.texts}).encode())

    shard.create(shard.files[0], fill)


def _files(number: int, shards: int) -> list[str]:
    return [f"shard-{number:06d}.tar"]


FORMAT = Format(_write, _files)
