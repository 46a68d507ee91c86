"""What looking at one input gives: its recordings or containers, by kind. Rows stay in Arrow."""

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.rows import nulls
from pipeline.sources.task import UNIT_SCHEMA, Kind
from pipeline.storage.access import Access


@dataclass(frozen=True)
class Found:
    """Recordings or containers of one kind from one input."""

    source: str  # the input, redacted
    kind: Kind
    units: pa.Table  # UNIT_SCHEMA; for files, the carried columns follow
    carried: pa.Schema = field(default_factory=lambda: pa.schema([]))
    recordings: int | None = None
    alone: bool = False  # one container, given directly
    notes: tuple[str, ...] = ()  # how it was understood, a sentence each


@dataclass(frozen=True)
class Rules:
    """How inputs are read: plain values from the settings."""

    column: str | None
    access: Access
    root: str | None = None  # where relative paths of manifests start; None: at the manifest's folder


def listed_units(files: pa.Table) -> pa.Table:
    """LISTING_SCHEMA -> UNIT_SCHEMA."""
    nothing = {
        name: nulls(files.num_rows, UNIT_SCHEMA.field(name).type)
        for name in ("@start_s", "@end_s", "@channel", "@row_group")
    }
    listed = {"@id": files["path"], "@location": files["location"], "@size": files["size"]}
    columns = {**listed, "@bytes": pc.fill_null(files["size"], 0), "@version": files["version"], **nothing}
    return pa.table([columns[name] for name in UNIT_SCHEMA.names], schema=UNIT_SCHEMA)
