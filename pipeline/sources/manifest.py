"""A manifest, as its parser in manifests/ gives it -> UNIT_SCHEMA rows and the columns that travel, all in Arrow.

The path column is the one that its parser or the user names, else the first of PATH_COLUMNS that is there; `id`,
`start_s`, `end_s` and `channel` are optional: columns of the output too. All others but the path travel, with their
types. NeMo's `offset` (with `duration`) is a start (and an end) where there is no `start_s`; a `duration` alone only
describes.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.found import Found, Rules
from pipeline.sources.manifests.delimited import PATH_COLUMNS
from pipeline.sources.manifests.formats import read_manifest
from pipeline.sources.manifests.parsed import end_of
from pipeline.sources.manifests.relative import locations, refuse_other_root, root_of
from pipeline.sources.parquet_footer import is_text
from pipeline.sources.rows import is_empty, nulls
from pipeline.sources.task import MAX_WEIGHT, UNIT_SCHEMA, carried_names
from pipeline.storage.location import redact
from pipeline.storage.text import clean_ids, narrow_text, redacted, replaced

BYTES_PER_S = 16_000
"""Of encoded speech, to weigh recordings of known duration: FLAC at 16 kHz takes 14 to 20 kB/s."""
UNKNOWN_BYTES = 8 * BYTES_PER_S
"""The weight of a recording of which nothing is known: an utterance of 8 s."""
ROWS = 100_000
"""Of which ids, locations and weights are made at a time: their text must not come near 2 GiB."""


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """The recordings that manifests (UNIT_SCHEMA rows, one each) name. Nothing of them is opened."""
    found = []
    for location in units["@location"].to_pylist():
        parsed = read_manifest(location, rules.column, rules.access)
        root = root_of(location, rules.root)
        named = manifest_units(parsed.table, location, parsed.path or rules.column, rules.access.schemes, root)
        refuse_other_root(named["@location"], root, rules.root)
        carried = pa.schema([column for column in named.schema if column.name not in UNIT_SCHEMA.names])
        found.append(Found(source, "files", named, carried, recordings=named.num_rows, notes=parsed.notes))
    return found, 0


def path_column(table: pa.Table, column: str | None, location: str) -> str:
    """The name of the column of paths. Raises InputError where there is none, or it holds no text."""
    for name in [column] if column else PATH_COLUMNS:
        if table.column_names.count(name) == 1 and is_text(table.schema.field(name).type):
            return name
    found = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
    if column:
        raise InputError(
            f"{redact(location)}: there is no text column {column!r}, which is to hold the paths; found {found}"
        )
    raise InputError(
        f"{redact(location)}: no column of paths; expected text in {' or '.join(PATH_COLUMNS)}, found {found};"
        " name it with input.column"
    )


def manifest_units(table: pa.Table, location: str, column: str | None, schemes: tuple[str, ...], root: str) -> pa.Table:
    """UNIT_SCHEMA rows, then the columns that travel, in the manifest's order. Nothing is opened or looked up."""
    name = path_column(table, column, location)
    kind = table["id"].type if "id" in table.column_names else pa.null()
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(f"{redact(location)}: column id holds {kind}; expected text or integers")
    start, end = _stretches(table, location)
    units = {"@start_s": start, "@end_s": end, "@channel": _channels(table, location)}
    bounds = pa.table(units)
    parts: dict[str, list[pa.Array]] = {"@id": [], "@location": [], "@bytes": []}
    for first in range(0, table.num_rows, ROWS):  # what is made of rows is freed before the next ones
        rows, where = table.slice(first, ROWS), bounds.slice(first, ROWS)
        paths = pc.fill_null(narrow_text(rows[name]), "")
        parts["@id"] += _ids(rows, paths, where, first).chunks
        parts["@location"] += locations(paths, location, schemes, root).chunks
        parts["@bytes"].append(_weights(rows, where))
    units |= {name: pa.chunked_array(some, UNIT_SCHEMA.field(name).type) for name, some in parts.items()}
    units |= {f.name: nulls(table.num_rows, f.type) for f in UNIT_SCHEMA if f.name not in units}
    own = {name, "id", "start_s", "end_s", *(["channel"] if _counts_channels(table) else [])}
    rest = [i for i, other in enumerate(table.column_names) if other not in own]
    names = carried_names([table.column_names[i] for i in rest])
    return pa.table(
        [*(units[n] for n in UNIT_SCHEMA.names), *(table.column(i) for i in rest)], names=[*UNIT_SCHEMA.names, *names]
    )


def _stretches(table: pa.Table, location: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Start and end in seconds, float64; null: of the file."""
    names = table.column_names
    if "start_s" in names or "offset" not in names or not _is_number(table["offset"].type):
        return _seconds(table, "start_s", location), _seconds(table, "end_s", location)
    start, end = _seconds(table, "offset", location), _seconds(table, "end_s", location)
    if "duration" in names and _is_number(table["duration"].type):
        end = pc.coalesce(end, end_of(start, table["duration"].cast(pa.float64())))
    return start, end


def _counts_channels(table: pa.Table) -> bool:
    """Whether the column `channel` says which channel is meant. Text is a column like any other: a broadcaster's name,
    say."""
    kind = table["channel"].type if "channel" in table.column_names else pa.string()
    return table.column_names.count("channel") == 1 and (_is_number(kind) or pa.types.is_null(kind))


def _channels(table: pa.Table, location: str) -> pa.ChunkedArray:
    """int32, from 1; null: by the setting. Raises InputError for what is no number of a channel."""
    if not _counts_channels(table):
        return nulls(table.num_rows, pa.int32())
    try:
        channel = table["channel"].cast(pa.int32())
    except pa.ArrowInvalid as e:
        raise InputError(f"{redact(location)}: column channel holds what is no whole number ({e})") from None
    lowest = pc.min(channel).as_py()
    if lowest is not None and lowest < 1:
        raise InputError(f"{redact(location)}: column channel holds {lowest}; channels are counted from 1")
    return channel


def _seconds(table: pa.Table, name: str, location: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return nulls(table.num_rows, pa.float64())
    try:
        return table[name].cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise InputError(f"{redact(location)}: column {name} is no number of seconds ({e})") from None


def _ids(table: pa.Table, paths: pa.ChunkedArray, where: pa.Table, number: int) -> pa.ChunkedArray:
    """The id column; where it is null or empty, the path as written (else the row's number), stretch and channel.

    `where`: the bounds and channels of the rows, of which the first has this `number`.
    """
    if "id" in table.column_names:
        given = pc.fill_null(narrow_text(table["id"]), "")
        missing = pc.equal(given, "")
        if not pc.any(missing).as_py():
            return clean_ids(given)
        return clean_ids(pc.if_else(missing, _made_ids(paths, where, number), given))
    return clean_ids(_made_ids(paths, where, number))


def _made_ids(paths: pa.ChunkedArray, where: pa.Table, number: int) -> pa.ChunkedArray:
    start, end, channel = where.columns
    ids, empty = redacted(paths), pc.equal(paths, "")
    if pc.any(empty).as_py():
        rows = [f"row {number + row}" for row in np.flatnonzero(empty.to_numpy())]
        ids = replaced(ids, empty, rows)
    if not (is_empty(start) and is_empty(end)):
        first, last = (pc.fill_null(seconds.cast(pa.string()), "") for seconds in (start, end))
        stretch = pc.binary_join_element_wise(first, last, "-")
        marked = pc.binary_join_element_wise(ids, stretch, "#")
        ids = pc.if_else(pc.equal(stretch, "-"), ids, marked)
    if not is_empty(channel):
        marked = pc.binary_join_element_wise(ids, channel.cast(pa.string()), "@ch")
        ids = pc.if_else(pc.is_null(channel), ids, marked)
    return ids


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _weights(table: pa.Table, where: pa.Table) -> pa.Array:
    """Estimated bytes, int64: of the stretch, or of the column `duration` or `duration_s`, or the same for all."""
    seconds = pc.subtract(where["@end_s"], pc.fill_null(where["@start_s"], 0.0))
    for name in ("duration", "duration_s"):
        if name in table.column_names and _is_number(table[name].type):
            seconds = pc.coalesce(seconds, table[name].cast(pa.float64()))
    sizes = np.clip(seconds.to_numpy(), 0, MAX_WEIGHT / BYTES_PER_S) * BYTES_PER_S  # NaN stays
    return pa.array(np.nan_to_num(sizes, nan=UNKNOWN_BYTES).astype(np.int64))
