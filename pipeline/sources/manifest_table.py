"""A manifest's file (JSON lines, CSV, Parquet) -> an Arrow table of valid text."""

import io
from collections.abc import Callable
from typing import BinaryIO, cast

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.storage.access import Access
from pipeline.storage.location import file_name, redact
from pipeline.storage.opening import open_stream
from pipeline.storage.text import mend_text
from pipeline.storage.translate import errors_as

PATH_COLUMNS = ("audio", "path", "audio_filepath", "wav")
BLOCK_BYTES = 16 << 20
"""Parsed at a time; no line of JSON may be longer."""
MAX_DEPTH = 100
"""Of nested JSON: pyarrow's parser recurses, and ends the process somewhere beyond 5000."""


def read_manifest(location: str, column: str | None, access: Access) -> pa.Table:
    """The rows of a .csv, .parquet or JSON lines file, text in UTF-8. Raises InputError where it cannot be parsed."""
    name = file_name(location).lower()
    read = _read_csv if name.endswith(".csv") else _read_parquet if name.endswith(".parquet") else _read_json
    try:
        with errors_as(location, InputError):
            table = read(lambda: open_stream(location, access), column)
    except ValueError as e:
        raise InputError(f"{redact(location)}: {e}; expected one flat object a line") from None
    if not table.num_rows:
        raise InputError(f"{redact(location)}: a manifest without rows")
    return pa.table([mend_text(column) for column in table.columns], names=table.column_names)


def _read_csv(open_file: Callable[[], BinaryIO], column: str | None) -> pa.Table:
    from pyarrow import csv

    text = dict.fromkeys([*PATH_COLUMNS, "id", *([column] if column else [])], pa.string())  # id 007 is no number
    with open_file() as file:
        return csv.read_csv(
            file,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=text | {"start_s": pa.float64(), "end_s": pa.float64()}, check_utf8=False
            ),
        )


def _read_parquet(open_file: Callable[[], BinaryIO], column: str | None) -> pa.Table:
    from pyarrow import parquet

    with open_file() as file:
        return parquet.read_table(pa.BufferReader(file.read()))


def _read_json(open_file: Callable[[], BinaryIO], column: str | None) -> pa.Table:
    from pyarrow import json

    def parse(explicit: pa.Schema | None) -> pa.Table:
        with open_file() as file:
            return json.read_json(
                cast(BinaryIO, _Shallow(file)),
                read_options=json.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=json.ParseOptions(explicit_schema=explicit),
            )

    table = parse(None)
    dates = [pa.field(f.name, pa.string()) for f in table.schema if pa.types.is_timestamp(f.type)]
    return parse(pa.schema(dates)) if dates else table  # JSON has no dates: text stays text


class _Shallow(io.RawIOBase):
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
