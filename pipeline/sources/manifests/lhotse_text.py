"""The supervisions and custom fields of lhotse's rows -> the columns that travel."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.manifests.parsed import END, START

SPOKEN = ("text", "speaker", "language", "gender")
OWN = frozenset({"id", "path", START, END, "channel", *SPOKEN})
"""Columns of the table; a custom field of such a name gets "custom_" in front."""


def spoken(table: pa.Table) -> tuple[dict[str, pa.Array], list[str]]:
    """Cuts or supervisions -> the columns that travel, and the names of fields that do not: lists and objects.

    A cut with several supervisions has their texts joined by blanks, and of the other fields what they agree on.
    """
    fields, left_out = _plain({name: table[name].combine_chunks() for name in table.column_names})
    if "supervisions" not in table.column_names or not _holds_objects(table.schema.field("supervisions").type):
        return fields, left_out
    lists = table["supervisions"].combine_chunks()
    rows, said = pc.list_parent_indices(lists).to_numpy(), _in_time(lists)
    theirs, more = _plain({field.name: pc.struct_field(said, field.name) for field in said.type})
    told = {
        name: _texts(rows, column, len(lists)) if name == "text" else _agreed(rows, column, len(lists))
        for name, column in theirs.items()
    }
    return told | fields, left_out + more


def _in_time(lists: pa.ListArray) -> pa.StructArray:
    """The supervisions of all rows, those of each in the order of their starts: lhotse does not promise it."""
    rows, said = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
    at = said.type.get_field_index("start")
    if at < 0 or not (pa.types.is_floating(said.type[at].type) or pa.types.is_integer(said.type[at].type)):
        return said
    starts = pc.struct_field(said, "start").cast(pa.float64(), safe=False)
    order = np.lexsort([pc.fill_null(starts, 0.0).to_numpy(zero_copy_only=False), rows])  # stable: equal ones stay
    return said.take(pa.array(order))


def _plain(columns: dict[str, pa.Array]) -> tuple[dict[str, pa.Array], list[str]]:
    """Of SPOKEN and the fields of `custom`, those of plain values; and the names of the others."""
    fields = {name: column for name, column in columns.items() if name in SPOKEN}
    custom = columns.get("custom")
    if custom is not None and pa.types.is_struct(custom.type):
        for field in custom.type:
            name = f"custom_{field.name}" if field.name in OWN else field.name
            value = pc.struct_field(custom, field.name)
            fields[name] = _unlisted(value) if field.name == "channel" else value
    fields = {name: column for name, column in fields.items() if not pa.types.is_null(column.type)}
    nested = [name for name, column in fields.items() if pa.types.is_nested(column.type)]
    return {name: column for name, column in fields.items() if name not in nested}, nested


def _unlisted(values: pa.Array) -> pa.Array:
    """Lists of one value -> the values; others as they are. A custom field `channel` that was a number is a list, as
    that of a cut."""
    one = pa.types.is_list(values.type) and pc.all(pc.equal(pc.list_value_length(values), 1)).as_py()
    return pc.list_element(values, 0) if one else values


def _holds_objects(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)


def _texts(rows: np.ndarray, text: pa.Array, count: int) -> pa.Array:
    """Of each of `count` rows, its texts joined by blanks; null where it has none."""
    given = pc.is_valid(text).to_numpy(zero_copy_only=False)
    sizes = np.bincount(rows[given], minlength=count)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pc.drop_null(text)), " ")
    return pc.if_else(pa.array(sizes > 0), joined, pa.scalar(None, joined.type))


def _agreed(rows: np.ndarray, values: pa.Array, count: int) -> pa.Array:
    """Of each of `count` rows, its value; null where it has none, or several that differ."""
    first = np.searchsorted(rows, np.arange(count))
    there = np.zeros(count, bool)
    there[rows] = True
    mine = values.take(pa.array(first[rows]))
    same = pc.fill_null(pc.equal(values, mine), False).to_numpy(zero_copy_only=False)
    there[rows[~same]] = False
    return values.take(pa.array(np.minimum(first, max(0, len(values) - 1)), mask=~there))
