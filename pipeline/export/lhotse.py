"""Lhotse Shar: cuts.000000.jsonl.gz and target_codes.000000.tar, in DIR/shar (from_shar takes every file for a field).

Each cut has a custom TemporalArray `target_codes`, int16 of shape [16, F]: codebooks first, time last (temporal_dim
-1), frame_shift 0.08. That is how NeMo's speech models read codes: `cut.target_codes.load()`. Do not use
`cut.load_custom("target_codes")`: lhotse cuts the first axis to the cut's duration, whatever temporal_dim says.
"""

import gzip
import json
import tarfile
from typing import Any, BinaryIO

from actors.contract import FRAME_RATE, NUM_CODEBOOKS
from pipeline.export.json_line import json_line
from pipeline.export.records import Record
from pipeline.export.shard import Format, Shard
from pipeline.export.webdataset import add_member, npy_bytes

FOLDER = "shar"
MANIFEST_KEYS = frozenset({"width", "array", "shape", "sources"})
IN_SUPERVISION = ("text", "speaker", "language")


def _write(shard: Shard) -> None:
    lines = []

    def fill(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for record in shard.records():
                add_member(tar, f"{record.key}.npy", npy_bytes(record.codes.T))
                add_member(tar, f"{record.key}.json", json.dumps(_placeholder(record)).encode() + b"\n")
                lines.append(json_line(_cut(record)) + "\n")

    arrays, cuts = shard.files
    shard.create(arrays, fill)
    content = gzip.compress("".join(lines).encode(), mtime=0)
    shard.create(cuts, lambda file: file.write(content))


def _files(number: int, shards: int) -> list[str]:
    return [f"{FOLDER}/target_codes.{number:06d}.tar", f"{FOLDER}/cuts.{number:06d}.jsonl.gz"]


def _placeholder(record: Record) -> dict[str, Any]:
    """The manifest of an array whose bytes lie beside it in the tar."""
    shape = [NUM_CODEBOOKS, len(record.codes)]
    array = {"storage_type": "shar", "storage_path": "", "storage_key": "", "shape": shape}
    return {"array": array, "temporal_dim": -1, "frame_shift": 1 / FRAME_RATE, "start": 0}


def _cut(record: Record) -> dict[str, Any]:
    span = {"start": 0, "duration": record.row["duration_s"], "channel": 0}
    said = {name: record.texts[name] for name in IN_SUPERVISION if name in record.texts}
    supervision = {"id": record.key, "recording_id": record.key, **span, **said}
    row = {name: json_line(value) if _is_manifest(value) else value for name, value in record.row.items()}
    custom = {**row, **record.texts, "target_codes": _placeholder(record)}
    return {"id": record.key, **span, "supervisions": [supervision], "custom": custom, "type": "MonoCut"}


def _is_manifest(value: Any) -> bool:
    """Whether lhotse would take a carried struct in `custom` for an image, an array or a recording of its own (see its
    `deserialize_custom_field`), and fail or drop what it does not know: it travels as JSON text."""
    return isinstance(value, dict) and not MANIFEST_KEYS.isdisjoint(value)


FORMAT = Format(_write, _files)
