"""The table of manifests: how a kind is recognized, by its name and the keys of its first line; and its parser."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError, plural
from pipeline.sources.manifests import delimited, json_lines, kaldi, lhotse, lines, nemo, parquet_table
from pipeline.sources.manifests.opening import given
from pipeline.sources.manifests.parsed import Given, Parsed
from pipeline.storage.access import Access
from pipeline.storage.location import STDIN, file_name, redact
from pipeline.storage.text import mend_text
from pipeline.storage.translate import errors_as

JSON = (".jsonl", ".ndjson", ".json")
NO_KEYS: frozenset[str] = frozenset()
EXACT = 2.0**53
"""Whole numbers below it are exact in float64."""


@dataclass(frozen=True)
class Manifest:
    """A kind of manifest."""

    suffixes: tuple[str, ...]  # of its name in lower case, or of that without .gz
    keys: frozenset[str]  # that the first line's JSON object has
    parse: Callable[[Given], Parsed]


MANIFESTS = (
    Manifest((".scp",), NO_KEYS, kaldi.read),
    Manifest((".txt", ".lst"), NO_KEYS, lines.read),
    Manifest((".csv",), NO_KEYS, delimited.read_csv),
    Manifest((".tsv",), NO_KEYS, delimited.read_tsv),
    Manifest((".parquet",), NO_KEYS, parquet_table.read),
    Manifest(JSON, lhotse.CUTS, lhotse.cuts),
    Manifest(JSON, lhotse.MIXED, lhotse.cuts),
    Manifest(JSON, lhotse.RECORDINGS, lhotse.recordings),
    Manifest(JSON, lhotse.SUPERVISIONS, lhotse.supervisions),
    Manifest(JSON, nemo.KEYS, nemo.read),
    Manifest(JSON, NO_KEYS, json_lines.read),
)
"""The first that fits is taken: those that are told apart by more keys come first."""
SUFFIXES = tuple(
    f"{suffix}{packed}"
    for packed in ("", ".gz")
    for suffix in dict.fromkeys(suffix for one in MANIFESTS for suffix in one.suffixes if suffix != ".parquet")
)


def read_manifest(location: str, column: str | None, access: Access) -> Parsed:
    """The rows of a manifest, text in UTF-8. Raises InputError where it cannot be parsed, or has no rows."""
    source, lines = given(location, column, access), file_name(location).lower().removesuffix(".gz").endswith(JSON)
    try:
        with errors_as(location, InputError):
            parsed = parser(location, source)(source)
    except ValueError as e:
        raise InputError(f"{redact(location)}: {e}{'; expected one object a line' if lines else ''}") from None
    if not parsed.table.num_rows:
        raise InputError(f"{redact(location)}: a manifest without rows")
    names, columns = parsed.table.column_names, [mend_text(column) for column in parsed.table.columns]
    mended = [_mended(*one) for one in zip(names, parsed.table.columns, columns, strict=True)]
    rounded = map(_rounded, names, columns) if lines else ()
    notes = tuple(f"{source.name}: {text}" for text in (*mended, *rounded) if text)
    return Parsed(pa.table(columns, names=names), parsed.path, (*parsed.notes, *notes))


def _mended(name: str, before: pa.ChunkedArray, now: pa.ChunkedArray) -> str | None:
    """In words, what `mend_text` changed in a column; None: nothing."""
    if not pa.types.is_string(before.type):
        return None
    count = pc.sum(pc.not_equal(before.cast(pa.binary()), now.cast(pa.binary()))).as_py()
    if not count:
        return None
    return f"column {name!r}: {plural(count, 'value')} with bytes that are no UTF-8, now \\xNN; save it as UTF-8"


def _rounded(name: str, column: pa.ChunkedArray) -> str | None:
    """In words, what a column of JSON lost where int64 does not hold its numbers, or where some are fractions."""
    if not pa.types.is_float64(column.type):
        return None
    count = pc.sum(pc.greater_equal(pc.abs(column), EXACT)).as_py()
    return f"column {name!r}: {plural(count, 'number')} of 2^53 or more, rounded; write it as text" if count else None


def parser(location: str, source: Given) -> Callable[[Given], Parsed]:
    """What reads a manifest. Standard input is JSON lines if it begins with "{", else a list of paths."""
    name = file_name(location).lower().removesuffix(".gz")
    if location == STDIN:
        with source.open() as file:
            name = ".jsonl" if file.read(1) == b"{" else ".txt"
    keys = first_keys(name, source)
    return next(one.parse for one in MANIFESTS if name.endswith(one.suffixes) and one.keys <= keys)


def first_keys(name: str, source: Given) -> frozenset[str]:
    """The keys by which manifests of one suffix are told apart."""
    return json_lines.first_keys(source.open) if name.endswith(JSON) else NO_KEYS
