"""CSV and TSV with a header (Common Voice's, say) -> a table.

TSV has no quotes: Common Voice writes sentences as they are. What separates a CSV's columns is seen in its first line.
"""

import io
import re
from csv import Error, reader
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.manifests.lines import BLOCK_BYTES
from pipeline.sources.manifests.parsed import END, START, Given, Parsed

PATH_COLUMNS = ("audio", "path", "audio_filepath", "wav")
TEXT_COLUMNS = ("id", "text", "sentence", "speaker", "client_id")
"""Never numbers, whatever they hold."""
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
HEADER_BYTES = 1 << 20
INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
"""Of up to 18 digits, which int64 holds. No zeros before it, no plus: it is written again as it was."""
DECIMAL = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,17})?(e[-+][0-9]{2,3})?$"
"""Of an integer part that float64 holds exactly, no zeros before it."""


def read_csv(given: Given) -> Parsed:
    """Columns as the header names them."""
    with given.open() as file:
        header = re.split("[\r\n]", file.read(HEADER_BYTES).decode("utf-8-sig", "replace"), maxsplit=1)[0]
    try:
        columns = {delimiter: next(reader([header], delimiter=delimiter), []) for delimiter in DELIMITERS}
    except Error as error:
        raise InputError(f"{given.name}, line 1: {error}; expected a header of short names") from None
    paths = {*PATH_COLUMNS, given.column}
    delimiter = max(columns, key=lambda one: (not paths.isdisjoint(columns[one]), len(columns[one])))
    _refuse_open_quotes(given, delimiter)
    note = f'{given.name}: columns between {DELIMITERS[delimiter]}, quoted by "'
    return Parsed(_table(given, delimiter, '"'), notes=(note,))


def _refuse_open_quotes(given: Given, delimiter: str) -> None:
    """Raise InputError for a quote that does not end where its field does: Arrow would take the lines behind it, up to
    all that follow, for one text, without a word."""
    with given.open() as file:
        if not any(b'"' in block for block in iter(lambda: file.read(BLOCK_BYTES), b"")):
            return
    with given.open() as file:
        buffered = io.BufferedReader(cast(io.RawIOBase, file), BLOCK_BYTES)
        text = io.TextIOWrapper(buffered, "utf-8-sig", "replace", newline="")
        rows = reader(text, delimiter=delimiter, strict=True)
        before = 0
        try:
            for _ in rows:
                before = rows.line_num
        except Error as error:
            raise InputError(
                f"{given.name}, line {before + 1}: a quote that is not closed where its field ends, or a field of over "
                f"131,072 characters ({error}); write "
                'a quote within a field twice (""), or take .tsv, where nothing is quoted'
            ) from None


def read_tsv(given: Given) -> Parsed:
    """Columns as the header names them."""
    return Parsed(_table(given, "\t", False), notes=(f"{given.name}: columns between tabs, nothing quoted",))


def _table(given: Given, delimiter: str, quote: str | bool) -> pa.Table:
    from pyarrow import csv

    reading = csv.ReadOptions(block_size=BLOCK_BYTES)
    parsing = csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=bool(quote))
    with given.open() as file, csv.open_csv(file, reading, parsing, csv.ConvertOptions(check_utf8=False)) as rows:
        types = dict.fromkeys(rows.schema.names, pa.string()) | {START: pa.float64(), END: pa.float64()}
    with given.open() as file:
        table = csv.read_csv(file, reading, parsing, csv.ConvertOptions(column_types=types, check_utf8=False))
    texts = {*PATH_COLUMNS, *TEXT_COLUMNS, given.column, START, END}
    named = zip(table.column_names, table.columns, strict=True)
    columns = [column if name in texts else _typed(column) for name, column in named]
    return pa.table(columns, names=table.column_names)


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text -> int64 or float64 where all of it are numbers as a program writes them (12, 0.50, 1e-05), with gaps as
    Arrow and pandas write them; nulls where all of it is empty; else the text: 0012, 10:30, 1.2.3 and True stay so."""
    from pyarrow import csv

    if pc.all(pc.equal(column, "")).as_py():
        return pa.chunked_array([pa.nulls(len(column))])
    gaps = pc.is_in(column, pa.array(csv.ConvertOptions().null_values))
    if pc.all(gaps).as_py():
        return column
    numbers = pc.if_else(gaps, None, column)
    for pattern, kind in ((INTEGER, pa.int64()), (DECIMAL, pa.float64())):
        if pc.all(pc.match_substring_regex(numbers, pattern)).as_py():
            return numbers.cast(kind)
    return column
