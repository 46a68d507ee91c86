"""Arrow columns -> Python objects, also where Python has none for a value."""

from typing import Any

import pyarrow as pa

BEYOND = (ValueError, OverflowError, LookupError)
"""What pyarrow raises for dates beyond 9999 and unknown time zones."""


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python objects; a value that Python cannot hold is Arrow's text of it."""
    columns = {name: plain_values(table[name].combine_chunks()) for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def plain_values(column: pa.Array) -> list[Any]:
    """As `plain_rows`, of a column."""
    try:
        return column.to_pylist()
    except BEYOND:
        return [plain_value(column.slice(row, 1)) for row in range(len(column))]


def plain_value(cell: pa.Array) -> Any:
    """As `plain_rows`, of the first value of `cell`."""
    try:
        return cell[0].as_py()
    except BEYOND:
        return " ".join(cell.to_string().split())
