"""Rows with codes -> parts of Parquet, their shards of waves, failures. Everything appears whole or not at all.

A part's name is a hash of what is in it, so that a retried write replaces its own file and adds no second one.
"""

import hashlib
import itertools

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline.run.layout import CODES, FAILURES, SKIPPED, WAVES, shard_path
from pipeline.run.write_waves import write_waves_to_shard
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, FINGERPRINT_SCHEMA, SKIP
from pipeline.storage.atomic import Check, write_whole

GROUP_BYTES = 4 << 20
"""Codes in a row group, which is what reading one recording costs: 145 recordings of 72 s, all 3,400 of 3 s."""


WRITTEN_SCHEMA = pa.schema(
    {
        "samples": pa.int64(),  # at 24 kHz
        "undecoded": pa.list_(pa.string()),  # ids of chunks without a reconstruction
        "codes_part": pa.string(),  # its name; "" where all failed
        "codes_sha256": pa.string(),
    }
)
"""What the driver needs to know of one write."""


def write_parts(rows: pa.Table, fs: FileSystem, run: str, check: Check | None = None) -> pa.Table:
    """Commit rows as at most one part of codes, one of failures, one of skipped ones; returns one row of
    WRITTEN_SCHEMA.

    `rows` are CODES_SCHEMA, then carried columns, and "stage", "error", "message", which are null but for failures. A
    row that failed in the stage "decode" has its codes, and only those. `check` is called before each commit: it
    raises where the run is not this writer's any more (`Lock.check`).
    """
    undecoded = pc.fill_null(pc.equal(rows["stage"], "decode"), False)
    skip = pc.fill_null(pc.equal(rows["stage"], SKIP), False)
    failures = rows.filter(pc.and_not(_failed(rows), skip)).select(FAILURES_SCHEMA.names)
    skipped = rows.filter(skip).select(FAILURES_SCHEMA.names)
    carried = [name for name in rows.column_names if name not in {*CODES_SCHEMA.names, *FAILURES_SCHEMA.names}]
    codes = rows.filter(pc.invert(_failed(rows))).select(CODES_SCHEMA.names + carried)
    name = sha256 = ""
    if len(codes):
        name = part_name(codes)
        sha256 = write_table(codes, fs, f"{run}/{CODES}/{name}", check)
    if len(failures):
        write_failures(failures, fs, run, check)
    if len(skipped):
        write_failures(skipped, fs, run, check, SKIPPED)
    samples = pc.sum(codes["num_samples"]).as_py() or 0
    ids = rows["id"].filter(undecoded).to_pylist()
    return pa.table([[samples], [ids], [name], [sha256]], schema=WRITTEN_SCHEMA)


def gather_blocks(rows: pa.Table) -> pa.Table:
    """Returns `rows`. A stage of its own, so that Ray gathers blocks up to its batch size: see `flow.graph`."""
    return rows


def write_in_parts(
    rows: pa.Table, fs: FileSystem, run: str, rows_per_part: int, check: Check | None = None
) -> pa.Table:
    """`write_parts` of pieces of equal size, each of `rows_per_part` to twice as many: no small part is left over."""
    pieces = max(1, len(rows) // rows_per_part)
    bounds = [len(rows) * piece // pieces for piece in range(pieces + 1)]
    return pa.concat_tables(
        write_parts(rows.slice(low, high - low), fs, run, check) for low, high in itertools.pairwise(bounds)
    )


def write_parts_and_shards(
    rows: pa.Table, fs: FileSystem, run: str, format: str, most_rows: int, check: Check | None = None
) -> pa.Table:
    """Commit rows with waves as parts of at most `most_rows`, as `write_parts` does, and the waves of each part as the
    shard of its name. The shard is there before its part: without a part it is no one's, and is deleted later."""
    written = []
    for first in range(0, len(rows), most_rows):
        some = rows.slice(first, most_rows)
        name = part_name(some.filter(pc.invert(_failed(some))))
        some = write_waves_to_shard(some, fs, shard_path(f"{run}/{WAVES}", name), format, check)
        written.append(write_parts(some, fs, run, check))
    return pa.concat_tables(written) if written else write_parts(rows.drop_columns(["wave"]), fs, run, check)


def _failed(rows: pa.Table) -> pa.ChunkedArray:
    """bool [rows]: no codes."""
    return pc.and_not(pc.is_valid(rows["stage"]), pc.fill_null(pc.equal(rows["stage"], "decode"), False))


def write_failures(
    failures: pa.Table, fs: FileSystem, run: str, check: Check | None = None, folder: str = FAILURES
) -> str:
    """Commit rows of FAILURES_SCHEMA as one part of `folder`; returns its name."""
    name = part_name(failures)
    write_table(failures, fs, f"{run}/{folder}/{name}", check)
    return name


def part_name(rows: pa.Table) -> str:
    """`part-<hash of the rows' ids, chunks or stages, fingerprints>.parquet`: equal rows always get the same name."""
    digest = hashlib.sha256()
    keys = ["id", "chunk" if "chunk" in rows.column_names else "stage", *FINGERPRINT_SCHEMA.names]
    for row in zip(*(rows[name].to_pylist() for name in keys if name in rows.column_names), strict=True):
        digest.update(repr(row).encode())
    return f"part-{digest.hexdigest()[:16]}.parquet"


def write_table(table: pa.Table, fs: FileSystem, path: str, check: Check | None = None) -> str:
    """Write `table` to `path` as Parquet (zstd, with checksums of pages), whole; returns the file's sha256.

    Every column has dictionaries. Parquet has no int16: codes would be 4 bytes each and 15 bits after zstd, their
    numbers in a dictionary are 11 bits, and decode faster.
    """
    sink = pa.BufferOutputStream()
    names = [field.with_type(_as_read(field.type)) for field in table.schema]
    pq.write_table(
        table.cast(pa.schema(names)),
        sink,
        compression="zstd",
        compression_level=3,
        write_page_checksum=True,
        row_group_size=_group_rows(table),
    )
    content = sink.getvalue()
    write_whole(fs, path, lambda file: file.write(content), check)
    return hashlib.sha256(content).hexdigest()


def _group_rows(table: pa.Table) -> int:
    """Rows that hold about GROUP_BYTES of codes."""
    size = table["codes"].nbytes if "codes" in table.column_names else 0
    return max(1, min(len(table), GROUP_BYTES * len(table) // max(1, size)))


def _as_read(kind: pa.DataType) -> pa.DataType:
    """`kind` with the name that Parquet gives to the values of lists: equal rows make equal files, read or new."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_read(field.type)) for field in kind])
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return kind
    inside = kind.value_field.with_name("element").with_type(_as_read(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inside, kind.list_size)
    return pa.list_(inside) if pa.types.is_list(kind) else pa.large_list(inside)
