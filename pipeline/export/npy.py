"""A file a recording: codes/<id>.npy, int16 [F, 16]; a manifest of JSON lines a shard with the rest of the rows."""

from concurrent.futures import ThreadPoolExecutor

from pipeline.export.json_line import json_line
from pipeline.export.records import Record, records
from pipeline.export.shard import Format, Shard
from pipeline.export.webdataset import npy_bytes
from pipeline.run.layout import safe_relative_path

FILES_AT_ONCE = 16
"""Each waits for its disk or store, much longer than it takes to make."""


def _write(shard: Shard) -> None:
    def put(record: Record) -> str:
        path, content = f"codes/{safe_relative_path(record.id, 'npy')}.npy", npy_bytes(record.codes)
        shard.create(path, lambda file: file.write(content))
        return json_line({"codes": path, **record.row, **record.texts}) + "\n"

    lines: list[str] = []
    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        for rows in shard.tables:
            lines += threads.map(put, records(rows, shard.columns))
    shard.create(shard.files[0], lambda file: file.write("".join(lines).encode()))


def _files(number: int, shards: int) -> list[str]:
    return [f"manifest-{number:06d}.jsonl"]


FORMAT = Format(_write, _files)
