"""Rows of whole recordings -> what a trainer's record is made of: codes, text, speaker, the carried columns."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.contract import NUM_CODEBOOKS
from pipeline.errors import InputError
from pipeline.run.layout import safe_relative_path
from pipeline.run.plain import plain_rows
from pipeline.run.whole import Whole, recordings
from pipeline.schema import CODES_SCHEMA

TEXTS = ("text", "speaker", "language", "instruct")
"""What a record may have beside its codes, each from a carried column that the user names."""
OF_CHUNKS = ("chunk", "chunks", "first_frame")
"""Columns that say nothing of a whole recording."""


@dataclass(frozen=True)
class Columns:
    """Which carried column holds what; None: not given. "a.b" is field b of column a, a struct or JSON text."""

    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    instruct: str | None = None

    def named(self) -> dict[str, str]:
        """Those that were given: what -> column."""
        return {name: column for name in TEXTS if (column := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Record:
    """One recording."""

    id: str
    codes: np.ndarray  # int16 [F, 16], read-only
    texts: dict[str, str]  # of TEXTS, those that the recording has
    row: dict[str, Any]  # every column of the run but codes: source, duration_s, ..., then the carried ones

    @property
    def key(self) -> str:
        """The id as a relative path that stays in its folder; ordinary ids are unchanged."""
        return safe_relative_path(self.id)


def check_columns(columns: Columns, schema: pa.Schema, needs_text: bool) -> None:
    """Raise InputError for a column that the run does not carry, and for a text that is needed and was not named."""
    carried = [name for name in schema.names if name not in CODES_SCHEMA.names]
    if needs_text and columns.text is None:
        raise InputError(
            "This format needs transcripts: name their column with --text. "
            f"The run carries {', '.join(carried) or 'no columns'}."
        )
    for name, column in columns.named().items():
        if column not in schema.names and _field_of(column, schema.names) is None:
            raise InputError(
                f"--{name} {column}: the run has no such column. It carries {', '.join(carried) or 'no columns'}."
            )


def refuse_empty(columns: Columns, whole: Whole, needs_text: bool) -> None:
    """Raise InputError where no recording has a text that is needed, or a field that is looked for in JSON text: its
    name is wrong, mostly. Reads on until one has it."""
    for name, column in columns.named().items():
        found = _field_of(column, whole.schema.names)
        in_json = found is not None and not pa.types.is_struct(whole.schema.field(found[0]).type)
        if not in_json and not (needs_text and name == "text"):
            continue
        if not any(pc.any(_filled(rows, column)).as_py() for rows in recordings(whole)):
            raise InputError(f"--{name} {column}: not one of the {len(whole):,} recordings has it. Name another.")


def _field_of(column: str, names: list[str]) -> tuple[str, str] | None:
    """The column and the field in it that "a.b" names: a column may have dots in its name."""
    if column in names:
        return None
    dots = [at for at, letter in enumerate(column) if letter == "."]
    return next(((column[:at], column[at + 1 :]) for at in reversed(dots) if column[:at] in names), None)


def text_column(rows: pa.Table, column: str | None) -> pa.Array:
    """string [rows] of `column`; null where the recording has none."""
    if column is None:
        return pa.nulls(len(rows), pa.string())
    if column in rows.column_names:
        return _as_text(rows[column].combine_chunks(), column)
    found = _field_of(column, rows.column_names)
    assert found is not None, "check_columns has refused it"
    name, field = found
    values = rows[name].combine_chunks()
    if pa.types.is_struct(values.type):
        if values.type.get_field_index(field) < 0:
            raise InputError(f"{column}: {name} has no field {field!r}, but {[f.name for f in values.type]}.")
        return _as_text(pc.struct_field(values, field), column)
    return pa.array([_of_json(text, field) for text in _as_text(values, name).to_pylist()], pa.string())


def with_text(rows: pa.Table, columns: Columns) -> pa.Table:
    """The rows whose text is there and not blank."""
    return rows.filter(_filled(rows, columns.text))


def _filled(rows: pa.Table, column: str | None) -> pa.Array:
    """bool [rows]: the text of `column` is there and not blank."""
    return pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text_column(rows, column))), 0), False)


def records(rows: pa.Table, columns: Columns) -> Iterator[Record]:
    """One `Record` a row."""
    if not len(rows):
        return
    texts = {name: text_column(rows, column).to_pylist() for name, column in columns.named().items()}
    values = plain_rows(rows.drop_columns(["codes", *OF_CHUNKS]))
    for number, (row, codes) in enumerate(zip(values, codes_of(rows), strict=True)):
        own = {name: column[number] for name, column in texts.items()}
        # never another column's text, not even for null
        row |= {name: text for name, text in own.items() if name in row}
        yield Record(row["id"], codes, {name: text for name, text in own.items() if text is not None}, row)


def codes_of(rows: pa.Table) -> list[np.ndarray]:
    """int16 [F, 16] of every row; views."""
    column = rows["codes"].combine_chunks()
    frames = column.flatten().flatten().to_numpy().reshape(-1, NUM_CODEBOOKS)
    ends = np.cumsum(pc.list_value_length(column).to_numpy())
    return [frames[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _as_text(values: pa.Array, column: str) -> pa.Array:
    try:
        return values.cast(pa.string())
    except pa.ArrowException as error:
        raise InputError(f"{column}: its values are {values.type}, expected text ({error}).") from None


def _of_json(text: str | None, field: str) -> str | None:
    """Null where the text is no JSON: one odd file of a corpus must not end its export."""
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    found = value.get(field) if isinstance(value, dict) else None
    if found is None:
        return None
    told = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return told.encode(errors="replace").decode()  # JSON may hold half of a surrogate pair, and no text can
