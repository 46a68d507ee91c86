"""CSV and TSV with a header (Common Voice's, say) -> a table.

TSV has no quotes: Common Voice writes sentences as they are. What separates a CSV's columns is seen in its first line.
"""

from csv import reader

import pyarrow as pa

from pipeline.sources.manifests.lines import BLOCK_BYTES
from pipeline.sources.manifests.parsed import END, START, Given, Parsed

PATH_COLUMNS = ("audio", "path", "audio_filepath", "wav")
TEXT_COLUMNS = ("id", "text", "sentence", "speaker", "client_id")
"""Never numbers or dates, whatever they hold: 007 stays 007."""
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
HEADER_BYTES = 1 << 20


def read_csv(given: Given) -> Parsed:
    """Columns as the header names them."""
    with given.open() as file:
        header = file.read(HEADER_BYTES).decode("utf-8-sig", "replace").partition("\n")[0]
    widths = {delimiter: len(next(reader([header], delimiter=delimiter), [])) for delimiter in DELIMITERS}
    delimiter = max(widths, key=lambda one: widths[one])
    note = f'{given.name}: columns between {DELIMITERS[delimiter]}, quoted by "'
    return Parsed(_table(given, delimiter, '"'), notes=(note,))


def read_tsv(given: Given) -> Parsed:
    """Columns as the header names them."""
    return Parsed(_table(given, "\t", False), notes=(f"{given.name}: columns between tabs, nothing quoted",))


def _table(given: Given, delimiter: str, quote: str | bool) -> pa.Table:
    from pyarrow import csv

    names = [*PATH_COLUMNS, *TEXT_COLUMNS, *([given.column] if given.column else [])]
    types = dict.fromkeys(names, pa.string()) | {START: pa.float64(), END: pa.float64()}
    with given.open() as file:
        return csv.read_csv(
            file,
            read_options=csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=bool(quote)),
            convert_options=csv.ConvertOptions(column_types=types, check_utf8=False),
        )
