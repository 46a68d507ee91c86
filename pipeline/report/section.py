"""What a section of the page is made of. Text is plain: the template escapes it; a picture's SVG is our own."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A drawing and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False  # shown when asked for


@dataclass(frozen=True)
class Fold:
    """What is shown when it is asked for."""

    summary: str
    lines: Sequence[tuple[str, str]]  # name, text


@dataclass(frozen=True)
class Section:
    """A heading and what is below it, in this order."""

    key: str  # its anchor
    title: str
    lead: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tiles: Sequence[tuple[str, str]] = ()  # figure, what it counts
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folds: Sequence[Fold] = ()
    notes: Sequence[str] = ()
