"""lhotse's JSON lines -> a table: a column has one type, and lhotse's fields do not always.

`channel` is a number in a MonoCut and a list in a MultiCut: it becomes a list. Where that is not enough (alignments are
lists of text and numbers), fields that do not travel are emptied line by line, which takes about three times as long.
"""

import io
import json
import re
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import pyarrow as pa

from pipeline.sources.manifests.json_lines import read_json
from pipeline.sources.manifests.lines import BLOCK_BYTES

ONE_CHANNEL = re.compile(rb'"channel"\s*:\s*(-?\d+)')
"""A key in JSON: within text, its second quote would have a backslash."""


def read_rows(open_file: Callable[[], BinaryIO]) -> pa.Table:
    """Every line's object, `channel` as a list."""
    try:
        return read_json(lambda: cast(BinaryIO, _Changed(open_file(), _listed)))
    except pa.ArrowInvalid as first:
        try:
            return read_json(lambda: cast(BinaryIO, _Changed(open_file(), _emptied)))
        except json.JSONDecodeError:
            raise first from None  # it knows the row


def _listed(lines: bytes) -> bytes:
    return ONE_CHANNEL.sub(rb'"channel":[\1]', lines)


def _emptied(lines: bytes) -> bytes:
    return b"".join(_emptied_line(line) for line in _listed(lines).split(b"\n") if line.strip())


def _emptied_line(line: bytes) -> bytes:
    row = json.loads(line)
    for one in (row, *_objects(row, "supervisions")):
        for name in ("alignment", "features"):
            one.pop(name, None)
        if isinstance(one.get("custom"), dict):
            one["custom"] = {k: [] if isinstance(v, list | dict) else v for k, v in one["custom"].items()}
    return json.dumps(row).encode() + b"\n"


def _objects(row: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(row, dict):
        raise pa.ArrowInvalid("a line is no object")
    found = row.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class _Changed(io.RawIOBase):
    """A file whose whole lines `change` has rewritten."""

    def __init__(self, file: BinaryIO, change: Callable[[bytes], bytes]) -> None:
        self.file, self.change, self.ready, self.open_line = file, change, b"", b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self.ready) < size and (data := self.file.read(size)):
            lines, newline, self.open_line = (self.open_line + data).rpartition(b"\n")
            self.ready += self.change(lines + newline)
            if len(self.open_line) > BLOCK_BYTES:
                raise ValueError(f"a line is longer than {BLOCK_BYTES >> 20} MiB")
        if len(self.ready) < size:
            self.ready += self.change(self.open_line)
            self.open_line = b""
        data, self.ready = self.ready[:size], self.ready[size:]
        return data

    def close(self) -> None:
        self.file.close()
        super().close()
