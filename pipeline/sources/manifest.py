"""A manifest (JSON lines, CSV, Parquet) -> UNIT_SCHEMA rows and the columns that travel, all in Arrow.

The path column is the first of manifest_table.PATH_COLUMNS that is there, or the one that is named; `id`, `start_s` and
`end_s` are optional: columns of the output too. All others but the path travel, with their types.
"""

import posixpath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.found import Found, Rules
from pipeline.sources.manifest_table import PATH_COLUMNS, read_manifest
from pipeline.sources.parquet_footer import is_text
from pipeline.sources.task import MAX_WEIGHT, UNIT_SCHEMA, carried_names
from pipeline.storage.location import around, check_scheme, folder_of, is_uri, redact
from pipeline.storage.text import clean_ids, redacted, replaced

BYTES_PER_S = 16_000
"""Of encoded speech, to weigh recordings of known duration: FLAC at 16 kHz takes 14 to 20 kB/s."""
UNKNOWN_BYTES = 8 * BYTES_PER_S
"""The weight of a recording of which nothing is known: an utterance of 8 s."""
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
URI = "^[A-Za-z][A-Za-z0-9+.-]*://"


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """The recordings that manifests (UNIT_SCHEMA rows, one each) name. Nothing of them is opened."""
    found = []
    for location in units["@location"].to_pylist():
        table = read_manifest(location, rules.column, rules.access)
        named = manifest_units(table, location, rules.column, rules.access.schemes)
        carried = pa.schema([column for column in named.schema if column.name not in UNIT_SCHEMA.names])
        found.append(Found(source, "files", named, carried, recordings=named.num_rows))
    return found, 0


def path_column(table: pa.Table, column: str | None, location: str) -> str:
    """The name of the column of paths. Raises InputError where there is none, or it holds no text."""
    for name in [column] if column else PATH_COLUMNS:
        if table.column_names.count(name) == 1 and is_text(table.schema.field(name).type):
            return name
    raise InputError(
        f"{redact(location)}: no column of paths; expected text in {column or ' or '.join(PATH_COLUMNS)}, found"
        f" {', '.join(f'{field.name} ({field.type})' for field in table.schema)}; name it with input.column"
    )


def manifest_units(table: pa.Table, location: str, column: str | None, schemes: tuple[str, ...]) -> pa.Table:
    """UNIT_SCHEMA rows, then the columns that travel, in the manifest's order. Nothing is opened or looked up."""
    name = path_column(table, column, location)
    paths = pc.fill_null(table[name].cast(pa.string()), "")
    kind = table["id"].type if "id" in table.column_names else pa.null()
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(f"{redact(location)}: column id holds {kind}; expected text or integers")
    start, end = _seconds(table, "start_s", location), _seconds(table, "end_s", location)
    units = {
        "@id": _ids(table, paths, start, end),
        "@location": locations(paths, location, schemes),
        "@start_s": start,
        "@end_s": end,
        "@row_group": pa.nulls(table.num_rows, pa.int32()),
        "@bytes": _weights(table, start, end),
        "@size": pa.nulls(table.num_rows, pa.int64()),
        "@version": pa.nulls(table.num_rows, pa.string()),
    }
    rest = [i for i, other in enumerate(table.column_names) if other not in (name, "id", "start_s", "end_s")]
    names = carried_names([table.column_names[i] for i in rest])
    return pa.table(
        [*(units[n] for n in UNIT_SCHEMA.names), *(table.column(i) for i in rest)], names=[*UNIT_SCHEMA.names, *names]
    )


def _seconds(table: pa.Table, name: str, location: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.float64())])
    try:
        return table[name].cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise InputError(f"{redact(location)}: column {name} is no number of seconds ({e})") from None


def _ids(table: pa.Table, paths: pa.ChunkedArray, start: pa.ChunkedArray, end: pa.ChunkedArray) -> pa.ChunkedArray:
    """The id column; where it is null or empty, the path as written (else the row's number), with its stretch."""
    ids, empty = redacted(paths), pc.equal(paths, "")
    if pc.any(empty).as_py():
        rows = [f"row {row}" for row in np.flatnonzero(empty.to_numpy())]
        ids = replaced(ids, empty, rows)
    if pc.any(pc.or_(pc.is_valid(start), pc.is_valid(end))).as_py():
        first, last = (pc.fill_null(seconds.cast(pa.string()), "") for seconds in (start, end))
        stretch = pc.binary_join_element_wise(first, last, "-")
        marked = pc.binary_join_element_wise(ids, stretch, "#")
        ids = pc.if_else(pc.equal(stretch, "-"), ids, marked)
    if "id" in table.column_names:
        given = pc.fill_null(table["id"].cast(pa.string()), "")
        ids = pc.if_else(pc.equal(given, ""), ids, given)
    return clean_ids(ids)


def locations(paths: pa.ChunkedArray, manifest: str, schemes: tuple[str, ...]) -> pa.ChunkedArray:
    """Where to open each path: a URI and an absolute path as they are, others relative to the manifest's folder."""
    uris = pc.match_substring_regex(paths, URI)
    if pc.any(uris).as_py():
        found = pc.extract_regex(paths.filter(uris), "^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
        for chunk in found.chunks:
            for scheme in chunk.field("scheme").unique().to_pylist():
                check_scheme(f"{scheme}://... in {redact(manifest)}", schemes)
    before, after = around(folder_of(manifest))
    relative = paths
    if is_uri(before):
        for mark in "%?#":
            relative = pc.replace_substring(relative, mark, f"%{ord(mark):02X}")
    joined = pc.binary_join_element_wise(before, relative, after, "")
    if is_uri(before):
        joined = _without_dots(joined)
    as_is = pc.or_(uris, pc.or_(pc.starts_with(paths, "/"), pc.equal(paths, "")))
    return pc.if_else(as_is, paths, joined)


def _without_dots(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Object stores know no "..": resolve it where it occurs."""
    dotted = pc.match_substring_regex(uris, r"/\.\.?(/|$)")
    if not pc.any(dotted).as_py():
        return uris
    plain = [_without_dot(uri) for uri in uris.filter(dotted).to_pylist()]
    return replaced(uris, dotted, plain)


def _without_dot(uri: str) -> str:
    path, mark, query = uri.partition("?")
    root, _, rest = path.partition("://")
    host, _, key = rest.partition("/")
    return f"{root}://{host}{posixpath.normpath('/' + key)}{mark}{query}"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _weights(table: pa.Table, start: pa.ChunkedArray, end: pa.ChunkedArray) -> pa.Array:
    """Estimated bytes, int64: of the stretch, or of the column `duration` or `duration_s`, or the same for all."""
    seconds = pc.subtract(end, pc.fill_null(start, 0.0))
    for name in ("duration", "duration_s"):
        if name in table.column_names and _is_number(table[name].type):
            seconds = pc.coalesce(seconds, table[name].cast(pa.float64()))
    sizes = np.clip(seconds.to_numpy(), 0, MAX_WEIGHT / BYTES_PER_S) * BYTES_PER_S  # NaN stays
    return pa.array(np.nan_to_num(sizes, nan=UNKNOWN_BYTES).astype(np.int64))
