"""A run on disk -> a table of its chunks without the codes, the faults of their rows, the parts that cannot be read."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, FileType

from pipeline.errors import InputError, OutputError
from pipeline.run.layout import CODES, FAILURES, parts
from pipeline.run.parts import parse, row_faults
from pipeline.run.run_json import read_run_file
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, FINGERPRINT_SCHEMA
from pipeline.storage.translate import errors_as, reason

INDEX = [name for name in CODES_SCHEMA.names if name not in {"source_rate", "source_channels", "codes"}]
ROWS_SCHEMA = pa.schema(
    [
        *(CODES_SCHEMA.field(name) for name in INDEX),
        ("fault", pa.string()),  # null, or what is wrong with the row
        ("part", pa.int32()),  # index of its part in `Evidence.parts`
    ]
)
FAILED_SCHEMA = pa.schema([*FAILURES_SCHEMA, ("part", pa.int32())])


@dataclass(frozen=True)
class Evidence:
    """The content of a run, read once. Rows are in the order of the parts and of their rows."""

    fs: FileSystem
    run: str
    summary: dict[str, Any] | None  # run.json; None if it is missing or damaged
    damage: str  # what is wrong with run.json; "" if nothing is
    parts: list[str]  # paths in RUN/codes
    failure_parts: list[str]
    sha256s: dict[str, str]  # of every part of codes, by name
    torn: dict[str, str]  # path of a part of either kind -> why it cannot be read
    rows: pa.Table  # ROWS_SCHEMA
    failed: pa.Table  # FAILED_SCHEMA
    recordings: pa.Table  # `recordings` of the sound rows

    @property
    def recorded_parts(self) -> dict[str, str]:
        """The sha256 of every part, by name, from run.json."""
        return (self.summary or {}).get("parts", {})


def gather(fs: FileSystem, run: str, codebook_size: Callable[[str], int]) -> Evidence:
    """Read every part of the run completely, one at a time; keeps all columns but the codes.

    `codebook_size` maps a model to the size of its codebooks. Raises InputError if there is no run, or if a file system
    fails.
    """
    paths, failure_paths = parts(fs, run, CODES), parts(fs, run, FAILURES)
    summary, damage = _summary(fs, run)
    if summary is None and not damage and not paths:
        raise InputError(f"{run} holds no run: expected run.json or {CODES}/part-*.parquet in it.")
    chunk_samples = (summary or {}).get("chunk", {}).get("samples")
    size = codebook_size((summary or {}).get("settings", {}).get("model", ""))
    sha256s: dict[str, str] = {}
    torn: dict[str, str] = {}
    rows, failed = [ROWS_SCHEMA.empty_table()], [FAILED_SCHEMA.empty_table()]
    for number, path in enumerate(paths):
        try:
            content = _content(fs, path)
            sha256s[path.rpartition("/")[2]] = hashlib.sha256(content).hexdigest()
            rows.append(_rows(_parse(content, CODES_SCHEMA), number, chunk_samples, size))
        except (pa.ArrowException, OSError, UnicodeError) as error:
            torn[path] = reason(error)
    for number, path in enumerate(failure_paths):
        try:
            table = _parse(_content(fs, path), FAILURES_SCHEMA).select(FAILURES_SCHEMA.names)
            if any(where.any() for _, where in row_faults(table)):
                raise pa.ArrowInvalid("it has rows without id, stage or error")
            failed.append(table.append_column("part", pa.array(np.full(len(table), number, np.int32))))
        except (pa.ArrowException, OSError, UnicodeError) as error:
            torn[path] = reason(error)
    table = pa.concat_tables(rows)
    return Evidence(
        fs,
        run,
        summary,
        damage,
        paths,
        failure_paths,
        sha256s,
        torn,
        table,
        pa.concat_tables(failed),
        recordings(table.filter(first_sound(table))),
    )


def _summary(fs: FileSystem, run: str) -> tuple[dict[str, Any] | None, str]:
    try:
        return read_run_file(fs, run), ""
    except OutputError as error:
        return None, str(error)


def _content(fs: FileSystem, path: str) -> bytes:
    """The bytes of a part. Raises InputError if the file system fails, OSError if `path` is a folder."""
    if fs.get_file_info(path).type == FileType.Directory:
        raise IsADirectoryError("a folder, expected a file")
    with errors_as(path, InputError), fs.open_input_stream(path) as file:
        return file.read()


def _parse(content: bytes, schema: pa.Schema) -> pa.Table:
    """The table of a part. Raises pa.ArrowException or OSError if it is not one, or has other types than `schema`."""
    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        return parse(file, schema, exact=True)


def _rows(table: pa.Table, part: int, chunk_samples: int | None, codebook_size: int) -> pa.Table:
    rows = table.select(INDEX)
    faults = row_faults(table, chunk_samples, codebook_size)
    fault = np.select([mask for _, mask in faults], [text for text, _ in faults], "")
    column = pa.array(fault.tolist(), pa.string(), mask=fault == "")
    return rows.append_column("fault", column).append_column("part", pa.array(np.full(len(rows), part, np.int32)))


def first_sound(rows: pa.Table) -> pa.Array:
    """bool [rows]: the row has no fault, and is the first such row of its (id, chunk)."""
    numbered = rows.select(["id", "chunk"]).append_column("at", pa.array(np.arange(len(rows))))
    fine = numbered.filter(rows["fault"].is_null())
    mask = np.zeros(len(rows), bool)
    mask[fine.group_by(["id", "chunk"]).aggregate([("at", "min")])["at_min"].to_numpy()] = True
    return pa.array(mask)


def recordings(rows: pa.Table) -> pa.Table:
    """One row per recording of `first_sound` rows: id; chunks_min and chunks_max, which differ if its rows disagree;
    chunk_count and num_samples_sum of its chunks."""
    return rows.group_by("id").aggregate(
        [("chunks", "min"), ("chunks", "max"), ("chunk", "count"), ("num_samples", "sum")]
    )


def whole(found: pa.Table) -> pa.Table:
    """Those of `recordings` that have all their chunks."""
    agreed = pc.equal(found["chunks_min"], found["chunks_max"])
    return found.filter(pc.and_(agreed, pc.equal(found["chunk_count"], found["chunks_max"])))


def of_several_versions(rows: pa.Table) -> pa.Array:
    """The ids of recordings whose chunks have different fingerprints."""
    long = rows.filter(pc.greater(rows["chunks"], 1))
    versions = long.group_by(["id", *FINGERPRINT_SCHEMA.names]).aggregate([])
    counts = versions.group_by("id").aggregate([([], "count_all")])
    return counts.filter(pc.greater(counts["count_all"], 1))["id"].combine_chunks()
