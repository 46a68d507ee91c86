"""WebDataset: tar shards of <key>.npy, int16 [F, 16], and <key>.json, everything else of the row.

`webdataset` takes what follows the first dot of a member's name as its extension, so dots in ids become %2E, and passes
over names that begin with "__", which become %5F_; the id as it was is in the JSON.
"""

import io
import re
import tarfile
from typing import BinaryIO

import numpy as np

from pipeline.export.json_line import json_line
from pipeline.export.records import Record
from pipeline.export.shard import Format, Shard


def key(record: Record) -> str:
    """The sample's key: the id without dots in its last component, and without "__" in front."""
    folder, slash, name = record.key.rpartition("/")
    return re.sub("^__", "%5F_", folder + slash + name.replace(".", "%2E"))


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
                add_member(tar, f"{key(record)}.npy", npy_bytes(record.codes))
                add_member(tar, f"{key(record)}.json", json_line({**record.row, **record.texts}).encode())

    shard.create(shard.files[0], fill)


def _files(number: int, shards: int) -> list[str]:
    return [f"shard-{number:06d}.tar"]


FORMAT = Format(_write, _files)
