"""One input as the user typed it -> what it holds, by kind, with the columns that travel. Rows stay in Arrow.

Ids are relative to the input: below a folder or a glob's fixed part, the path; a single file, its name; a manifest, its
"id" column or the path as written.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UnreadableAudio
from pipeline.files import file_name, look_up, redact
from pipeline.footer import Footer, read_footer
from pipeline.listing import (
    MANIFEST_SUFFIXES,
    PARQUET_SUFFIXES,
    TAR_SUFFIXES,
    Listing,
    has_pattern,
    list_folder,
    list_glob,
)
from pipeline.manifest import manifest_units
from pipeline.names import clean_id
from pipeline.parse import read_manifest
from pipeline.persist import Access
from pipeline.tar import TAR_CARRIED
from pipeline.task import MAX_WEIGHT, UNIT_SCHEMA, Kind

FOOTER_THREADS = 16
"""Parquet footers read at once: each is one or two requests of a remote store."""


@dataclass(frozen=True)
class Found:
    """Recordings or containers of one kind from one input."""

    source: str  # the input, redacted
    kind: Kind
    units: pa.Table  # UNIT_SCHEMA; for files, the carried columns follow
    carried: pa.Schema = field(default_factory=lambda: pa.schema([]))
    recordings: int | None = None
    alone: bool = False  # one container, given directly


@dataclass(frozen=True)
class Rules:
    """How inputs are read: plain values from the settings."""

    column: str | None
    access: Access


def find(location: str, rules: Rules) -> tuple[list[Found], int]:
    """One input -> what it holds, and how many files were passed over."""
    if has_pattern(location):
        listing = list_glob(location, rules.access)
    else:
        is_folder, size = look_up(location, rules.access)
        if not is_folder:
            return [_file(location, size, rules)], 0
        listing = list_folder(location, rules.access)
    return _listed(redact(location), listing, rules)


def _file(location: str, size: int, rules: Rules) -> Found:
    """A file that was named itself: its suffix says what it is, and anything else is tried as audio."""
    name = clean_id(file_name(location))
    kind = kind_of(name)
    if kind == "manifest":
        return _manifest(location, rules)
    units = _units(pa.table({"path": [name], "location": [location], "bytes": pa.array([size], pa.int64())}))
    if kind == "tar":
        return Found(redact(location), "tar", units, TAR_CARRIED, alone=True)
    if kind == "parquet":
        shards, others = _shards(redact(location), units, rules)
        return _manifest(location, rules) if others else replace(shards[0], alone=True)
    return Found(redact(location), "files", units, recordings=1)


def _manifest(location: str, rules: Rules) -> Found:
    table = read_manifest(location, rules.column, rules.access)
    units = manifest_units(table, location, rules.column, rules.access.schemes)
    carried = pa.schema([column for column in units.schema if column.name not in UNIT_SCHEMA.names])
    return Found(redact(location), "files", units, carried, recordings=units.num_rows)


def _shards(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """Parquet files -> their row groups, one `Found` a schema; and the number of those that hold no audio.

    One whose footer cannot be read stays, whole: reading it will tell, and make it a failure.
    """
    by_schema: dict[pa.Schema, list[dict[str, Any]]] = {}
    others = 0
    files = units.to_pylist()
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        footers = list(pool.map(lambda unit: _footer(unit["@location"], rules), files))
    for unit, footer in zip(files, footers, strict=True):
        if footer is not None and footer.audio is None:
            others += 1
            continue
        groups = by_schema.setdefault(footer.carried if footer else pa.schema([]), [])
        if footer is None:
            groups.append(unit | {"recordings": 1})  # its failure
            continue
        for group, (count, size) in enumerate(zip(footer.rows, footer.bytes, strict=True)):
            groups.append(unit | {"@row_group": group, "@bytes": min(max(size, 1), MAX_WEIGHT), "recordings": count})
    found = [
        Found(source, "parquet", pa.Table.from_pylist(rows, UNIT_SCHEMA), carried, sum(r["recordings"] for r in rows))
        for carried, rows in by_schema.items()
    ]
    return found, others


def _footer(location: str, rules: Rules) -> Footer | None:
    try:
        return read_footer(location, rules.column, rules.access)
    except UnreadableAudio:
        return None


def kind_of(name: str) -> str:
    """files, tar, parquet or manifest."""
    for kind, suffixes in (("tar", TAR_SUFFIXES), ("parquet", PARQUET_SUFFIXES), ("manifest", MANIFEST_SUFFIXES)):
        if name.lower().endswith(suffixes):
            return kind
    return "files"


def _listed(source: str, listing: Listing, rules: Rules) -> tuple[list[Found], int]:
    units = _units(listing.files)
    tar = _ends_with(units["@id"], TAR_SUFFIXES)
    parquet = _ends_with(units["@id"], PARQUET_SUFFIXES)
    files = units.filter(pc.invert(pc.or_(tar, parquet)))
    shards, others = _shards(source, units.filter(parquet), rules)
    found = [
        Found(source, "files", files, recordings=files.num_rows),
        Found(source, "tar", units.filter(tar), TAR_CARRIED),
        *shards,
    ]
    return [one for one in found if one.units.num_rows], listing.passed_over + others


def _ends_with(names: pa.ChunkedArray, suffixes: tuple[str, ...]) -> pa.ChunkedArray:
    pattern = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in suffixes) + ")$"
    return pc.match_substring_regex(names, pattern)


def _units(files: pa.Table) -> pa.Table:
    """path, location, bytes -> UNIT_SCHEMA."""
    nothing = {
        name: pa.nulls(files.num_rows, UNIT_SCHEMA.field(name).type) for name in ("@start_s", "@end_s", "@row_group")
    }
    columns = {"@id": files["path"], "@location": files["location"], "@bytes": files["bytes"], **nothing}
    return pa.table([columns[name] for name in UNIT_SCHEMA.names], schema=UNIT_SCHEMA)
