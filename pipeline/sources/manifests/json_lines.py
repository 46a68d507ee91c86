"""JSON lines -> a table: a flat or nested object a line."""

import io
import json
from collections.abc import Callable
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.sources.manifests.lines import BLOCK_BYTES
from pipeline.sources.manifests.parsed import Given, Parsed

MAX_DEPTH = 100
"""Of nested JSON: pyarrow's parser recurses, and ends the process somewhere beyond 5000."""
PIECE_BYTES = 1 << 20


def read(given: Given) -> Parsed:
    """Every column as it is."""
    return Parsed(read_json(given.open))


def first_keys(open_file: Callable[[], BinaryIO]) -> frozenset[str]:
    """The keys of the first line's object, by which kinds of manifests are told apart; none where it is no object."""
    head = b""
    with open_file() as file:
        while b"\n" not in head.lstrip() and len(head) < BLOCK_BYTES and (piece := file.read(PIECE_BYTES)):
            head += piece
    try:
        first = json.loads(head.lstrip().partition(b"\n")[0])
    except (ValueError, RecursionError):  # the parser of all lines says what is wrong
        return frozenset()
    return frozenset(first) if isinstance(first, dict) else frozenset()


def read_json(open_file: Callable[[], BinaryIO]) -> pa.Table:
    """All rows; types are inferred, but text that looks like a date stays text."""
    from pyarrow import json

    def parse(explicit: pa.Schema | None) -> pa.Table:
        with open_file() as file:
            return json.read_json(
                cast(BinaryIO, Shallow(file)),
                read_options=json.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=json.ParseOptions(explicit_schema=explicit),
            )

    table = parse(None)
    _refuse_invalid(table)
    dates = [pa.field(f.name, pa.string()) for f in table.schema if pa.types.is_timestamp(f.type)]
    return parse(pa.schema(dates)) if dates else table  # JSON has no dates: text stays text


def _refuse_invalid(table: pa.Table) -> None:
    """pyarrow 26 makes arrays with offsets beyond their values of lists that begin with null."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            column.validate()
        except pa.ArrowInvalid:
            raise pa.ArrowInvalid(f"a list in column {name!r} begins with null, which is not read; drop it") from None


class Shallow(io.RawIOBase):
    """JSON lines as they are, once their nesting is known to be below MAX_DEPTH."""

    OTHERS = bytes(set(range(256)) - set(b"[]{}\n"))
    SQUARE = bytes.maketrans(b"{}", b"[]")

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.open_line = file, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        brackets = self.open_line + data.translate(None, self.OTHERS).translate(self.SQUARE)
        for _ in range(MAX_DEPTH):
            shorter = brackets.replace(b"[]", b"")  # takes away the innermost level
            if len(shorter) == len(brackets):
                break
            brackets = shorter
        if b"[" * MAX_DEPTH in brackets:
            raise ValueError(f"a line is nested deeper than {MAX_DEPTH} levels")
        self.open_line = brackets.rpartition(b"\n")[2][-4 * MAX_DEPTH :]
        return data
