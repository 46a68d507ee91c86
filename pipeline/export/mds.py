"""MosaicML streaming: shard.00000.mds and index.json; columns id, codes (int16 [F, 16]), duration_s and the texts.

A shard is, little endian: uint32 samples n; uint32 [n + 1] where each begins and the last ends; the column description
in JSON; the samples. A sample is the uint32 sizes of its columns that have no fixed one, then their bytes; columns are
in order of name. An array of given type is a byte (dimensions << 2 | code of the shape's type), its shape, its values
(streaming/base/format/mds, version 2).
"""

import json
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import InputError
from pipeline.export.records import Columns, Record
from pipeline.export.shard import Finished, Format, Shard

_SHAPE_TYPES = ("<u1", "<u2", "<u4")


FILE = "index.json"
"""What MosaicML's readers open first."""


def _encodings(columns: Columns) -> dict[str, str]:
    texts = dict.fromkeys(columns.named(), "str")
    return dict(sorted({"id": "str", "codes": "ndarray:int16", "duration_s": "float64", **texts}.items()))


def _description(columns: Columns) -> dict[str, Any]:
    encodings = _encodings(columns)
    return {
        "column_encodings": list(encodings.values()),
        "column_names": list(encodings),
        "column_sizes": [8 if encoding == "float64" else None for encoding in encodings.values()],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": None,
        "version": 2,
    }


def _write(shard: Shard) -> None:
    description = json.dumps(_description(shard.columns), sort_keys=True).encode()

    def fill(file: BinaryIO) -> None:
        begins = np.zeros(shard.recordings + 1, np.int64)
        begins[0] = 4 + 4 * len(begins) + len(description)
        file.seek(int(begins[0]))
        for number, record in enumerate(shard.records()):
            begins[number + 1] = begins[number] + file.write(_sample(record, shard.columns))
        file.seek(0)
        file.write(np.uint32(shard.recordings).tobytes() + _offsets(begins).tobytes() + description)

    shard.create(shard.files[0], fill)


def _offsets(begins: np.ndarray) -> np.ndarray:
    if begins[-1] >= 2**32:
        raise InputError(
            f"A shard of {len(begins) - 1} recordings has {begins[-1]} bytes; mds holds less than 4 GiB. Give "
            "--shard-recordings a lower number, and --out an empty folder."
        )
    return begins.astype("<u4")


def _sample(record: Record, columns: Columns) -> bytes:
    sizes, body = [], []
    for name, encoding in _encodings(columns).items():
        if encoding == "float64":
            body.append(np.float64(record.row[name]).tobytes())
            continue
        text = record.id if name == "id" else record.texts.get(name, "")
        body.append(_array(record.codes) if name == "codes" else text.encode())
        sizes.append(len(body[-1]))
    return np.array(sizes, "<u4").tobytes() + b"".join(body)


def _array(codes: np.ndarray) -> bytes:
    kind = next(code for code in range(len(_SHAPE_TYPES)) if max(codes.shape) < 1 << (8 << code))
    return bytes([2 << 2 | kind]) + np.array(codes.shape, _SHAPE_TYPES[kind]).tobytes() + codes.tobytes()


def _finish(finished: Finished) -> None:
    description = _description(finished.columns)
    shards = [
        {**description, "raw_data": {"basename": name, "bytes": size, "hashes": {}}, "samples": count, "zip_data": None}
        for name, size, count in zip(finished.names, finished.sizes, finished.recordings, strict=True)
    ]
    content = json.dumps({"shards": shards, "version": 2}, sort_keys=True).encode()
    finished.create(FILE, lambda file: file.write(content))


def _files(number: int, shards: int) -> list[str]:
    return [f"shard.{number:05d}.mds"]


FORMAT = Format(_write, _files, finish=_finish, result=FILE)
