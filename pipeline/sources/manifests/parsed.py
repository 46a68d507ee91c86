"""What every parser is given, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

START, END = "start_s", "end_s"
PLACES = 9
"""Decimal places that are kept where a start and a duration are added: 0.1 + 0.2 is 0.3."""
ROUNDED_S = 1e9
"""From here on rounding would change nothing, or overflow."""


@dataclass(frozen=True)
class Given:
    """A manifest that is to be parsed."""

    name: str  # its location without credentials, for messages
    column: str | None  # the column of paths, where the user named it
    open: Callable[[], BinaryIO]
    """Its bytes, unpacked. May be called again."""
    beside: Callable[[str], Callable[[], BinaryIO] | None]
    """The opener of a file in the same folder, by its name; None where it is not there."""


@dataclass(frozen=True)
class Parsed:
    """The rows of a manifest.

    `table` may have `id` (text or integers), `start_s` and `end_s` (seconds; null: from the beginning, to the end),
    `channel` (int32, the first one is 1; null: all of them); the other columns travel.
    """

    table: pa.Table
    path: str | None = None  # the column of paths; None: to be found by its name
    notes: tuple[str, ...] = ()  # what the user should know, a sentence each


def repeated(ids: pa.Array) -> str | None:
    """An id that is there twice; None where there is none."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return None
    counts = pc.value_counts(ids)
    return counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()


def end_of(start: Any, duration: Any) -> Any:
    """float64 columns of seconds -> their sums, rounded to PLACES; null where one of them is."""
    end = pc.add(start, duration)
    small = pc.less(pc.abs(end), ROUNDED_S)
    return pc.if_else(small, pc.round(pc.if_else(small, end, 0.0), PLACES), end)
