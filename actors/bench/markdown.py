"""Titles and rows of text -> a Markdown table."""

from collections.abc import Sequence


def rows_of(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One line a row."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """The first line of a text, as it can stand in a table."""
    return text.partition("\n")[0].replace("|", "\\|")
