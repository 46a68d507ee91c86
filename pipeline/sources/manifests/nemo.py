"""A NeMo manifest (JSON lines with `audio_filepath`) -> a table.

`offset` and `duration` are the bounds of a row that has an `offset` (see manifest.py); without one, the whole file is
meant. A list of paths is one recording in several files, a channel each: each becomes a recording.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.manifests.json_lines import read_json
from pipeline.sources.manifests.parsed import Given, Parsed

PATH = "audio_filepath"
KEYS = frozenset({PATH})


def read(given: Given) -> Parsed:
    """Every column. Raises InputError for a manifest of tarred audio, or bounds that are no numbers."""
    table = read_json(given.open)
    if "shard_id" in table.column_names:
        raise InputError(
            f"{given.name}: a manifest of tarred audio (it has shard_id): its files lie in tars that it does not name."
            " Give the tars themselves, such as audio__OP_0..127_CL_.tar; or drop the column shard_id if they are files"
        )
    if given.column in (None, PATH) and pa.types.is_list(table.schema.field(PATH).type):
        table = _a_row_a_path(table)
    return Parsed(_in_seconds(table, given.name))


def _a_row_a_path(table: pa.Table) -> pa.Table:
    lists = table[PATH].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    rows = np.repeat(np.arange(len(lists)), np.maximum(counts, 1))  # no path: a row that fails by itself
    named = np.repeat(counts > 0, np.maximum(counts, 1))
    which = np.cumsum(named) - 1
    result = table.take(pa.array(rows))
    paths = pc.list_flatten(lists).take(pa.array(which, mask=~named))
    result = result.set_column(result.column_names.index(PATH), PATH, paths)
    if "id" not in table.column_names:
        return result
    channel = np.arange(len(rows)) - np.searchsorted(rows, rows) + 1
    marked = pc.binary_join_element_wise(result["id"].cast(pa.string()), pa.array(channel).cast(pa.string()), "@ch")
    several = pa.array(np.repeat(counts > 1, np.maximum(counts, 1)))
    ids = pc.if_else(several, marked, result["id"].cast(pa.string()))
    return result.set_column(result.column_names.index("id"), "id", ids)


def _in_seconds(table: pa.Table, name: str) -> pa.Table:
    """`offset`, and `duration` beside it, as float64."""
    if "offset" not in table.column_names:
        return table
    for column in {"offset", "duration"} & set(table.column_names):
        try:
            seconds = table[column].cast(pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"{name}: column {column} holds {table[column].type}; expected seconds") from None
        table = table.set_column(table.column_names.index(column), column, seconds)
    return table
