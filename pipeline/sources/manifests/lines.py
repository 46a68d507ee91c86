"""Lines of text -> an Arrow column; and a list of paths, one a line, as a manifest."""

from collections.abc import Callable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.manifests.parsed import Given, Parsed
from pipeline.storage.text import mend_text

BLOCK_BYTES = 16 << 20
"""Parsed at a time; no line may be longer."""
NEVER = "\x1f"
"""ASCII's unit separator: no line of a manifest has one."""


def read(given: Given) -> Parsed:
    """A path or URI a line, blanks around it dropped. Lines of blanks are skipped; there are no comments."""
    paths = pc.utf8_trim_whitespace(read_lines(given.open))
    paths = paths.filter(pc.not_equal(paths, ""))
    if not len(paths):
        raise InputError(f"{given.name}: a list without a path")
    return Parsed(pa.table({"path": paths}), path="path")


def read_lines(open_file: Callable[[], BinaryIO]) -> pa.ChunkedArray:
    r"""Every line, blank ones too, without its line break; bytes that are no UTF-8 become \xNN."""
    from pyarrow import csv

    with open_file() as file:
        try:
            table = csv.read_csv(
                file,
                read_options=csv.ReadOptions(column_names=["line"], block_size=BLOCK_BYTES),
                parse_options=csv.ParseOptions(delimiter=NEVER, quote_char=False, ignore_empty_lines=False),
                convert_options=csv.ConvertOptions(column_types={"line": pa.string()}, check_utf8=False),
            )
        except pa.ArrowInvalid as e:
            if "Empty CSV file" not in str(e):
                raise
            return pa.chunked_array([], pa.string())
    return mend_text(table["line"])
