"""A file a recording: codes/<id>.npy, int16 [F, 16]; a manifest of JSON lines a shard with the rest of the rows."""

from pipeline.export.records import json_line
from pipeline.export.shard import Format, Shard
from pipeline.export.webdataset import npy_bytes


def _write(shard: Shard) -> None:
    lines = []
    for record in shard.records():
        path = f"codes/{record.key}.npy"
        content = npy_bytes(record.codes)
        shard.create(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        lines.append(json_line({"codes": path, **record.row, **record.texts}) + "\n")
    shard.create(_name(shard.number, shard.shards), lambda file: file.write("".join(lines).encode()))


def _name(number: int, shards: int) -> str:
    return f"manifest-{number:06d}.jsonl"


FORMAT = Format(_write, _name)
