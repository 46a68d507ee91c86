"""A run on disk -> what its parts say: a row a chunk without the codes, what is wrong with it, what cannot be read."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline.errors import InputError
from pipeline.files import telling
from pipeline.run import read_run_file
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, FRAME_SAMPLES, SAMPLE_RATE
from pipeline.write import CODES, FAILURES, parts

INDEX = [name for name in CODES_SCHEMA.names if name not in {"source_rate", "source_channels", "codes"}]
ROWS_SCHEMA = pa.schema(
    [
        *(CODES_SCHEMA.field(name) for name in INDEX),
        ("fault", pa.string()),  # null, or what is wrong with the row
        ("part", pa.int32()),  # number of its part, see `Evidence.parts`
    ]
)
FAILED_SCHEMA = pa.schema([*FAILURES_SCHEMA, ("part", pa.int32())])


@dataclass(frozen=True)
class Evidence:
    """What is there, read once. Rows lie in the order of the parts and, in each, of its rows."""

    fs: FileSystem
    run: str
    summary: dict[str, Any] | None  # run.json; None where there is none, or no JSON
    parts: list[str]  # paths in RUN/codes
    failure_parts: list[str]
    sha256s: dict[str, str]  # of every part of codes, by name
    torn: dict[str, str]  # path of a part of either kind -> why it cannot be read
    rows: pa.Table  # ROWS_SCHEMA
    failed: pa.Table  # FAILED_SCHEMA
    recordings: pa.Table  # `recordings` of the sound rows

    @property
    def recorded_parts(self) -> dict[str, str]:
        """The sha256 of every part, by name, as run.json has it."""
        return (self.summary or {}).get("parts", {})


def gather(fs: FileSystem, run: str, codebook_size: Callable[[str], int]) -> Evidence:
    """Read every part of the run whole, one at a time; keeps all but the codes. `codebook_size` of the run's model.

    Raises InputError for no run at all, and where a file system fails.
    """
    paths, failure_paths = parts(fs, run, CODES), parts(fs, run, FAILURES)
    try:
        summary = read_run_file(fs, run)
    except ValueError:
        summary = None
    if summary is None and not paths:
        raise InputError(f"{run} holds no run: expected run.json or {CODES}/part-*.parquet in it.")
    chunk_samples = (summary or {}).get("chunk", {}).get("samples")
    size = codebook_size((summary or {}).get("settings", {}).get("model", ""))
    sha256s: dict[str, str] = {}
    torn: dict[str, str] = {}
    rows, failed = [ROWS_SCHEMA.empty_table()], [FAILED_SCHEMA.empty_table()]
    for number, path in enumerate(paths):
        content = _content(fs, path)
        sha256s[path.rpartition("/")[2]] = hashlib.sha256(content).hexdigest()
        try:
            rows.append(_rows(_parse(content, CODES_SCHEMA), number, chunk_samples, size))
        except (pa.ArrowException, OSError) as error:
            torn[path] = " ".join(str(error).split())[:200]
    for number, path in enumerate(failure_paths):
        try:
            table = _parse(_content(fs, path), FAILURES_SCHEMA).select(FAILURES_SCHEMA.names)
            failed.append(table.append_column("part", pa.array(np.full(len(table), number, np.int32))))
        except (pa.ArrowException, OSError) as error:
            torn[path] = " ".join(str(error).split())[:200]
    table = pa.concat_tables(rows)
    return Evidence(
        fs,
        run,
        summary,
        paths,
        failure_paths,
        sha256s,
        torn,
        table,
        pa.concat_tables(failed),
        recordings(table.filter(first_sound(table))),
    )


def _content(fs: FileSystem, path: str) -> bytes:
    """A file system that fails is not a part that is torn: it raises."""
    with telling(path, InputError), fs.open_input_stream(path) as file:
        return file.read()


def _parse(content: bytes, schema: pa.Schema) -> pa.Table:
    """The table of a part. Raises pa.ArrowException or OSError where it is none, or lacks a column of `schema`."""
    table = pq.read_table(pa.BufferReader(content))
    for field in schema:
        found = table.schema.field(field.name).type if field.name in table.schema.names else "missing"
        if found != field.type:
            raise pa.ArrowInvalid(f"column {field.name!r} is {found}, expected {field.type}")
    table.validate(full=True)
    return table


def _rows(table: pa.Table, part: int, chunk_samples: int | None, codebook_size: int) -> pa.Table:
    rows = table.select(INDEX)
    faults = _faults(table, chunk_samples, codebook_size)
    fault = np.select([mask for _, mask in faults], [text for text, _ in faults], "")
    column = pa.array(fault.tolist(), pa.string(), mask=fault == "")
    return rows.append_column("fault", column).append_column("part", pa.array(np.full(len(rows), part, np.int32)))


def _faults(table: pa.Table, chunk_samples: int | None, codebook_size: int) -> list[tuple[str, np.ndarray]]:
    """What can be wrong with a row, and bool [rows] where it is."""
    chunk, chunks, first_frame, frames, samples = (
        pc.fill_null(table[name], -1).to_numpy().astype(np.int64)
        for name in ("chunk", "chunks", "first_frame", "num_frames", "num_samples")
    )
    duration_s = pc.fill_null(table["duration_s"], -1.0).to_numpy()
    coded, lowest, highest = _codes_extent(table["codes"])
    length = samples if chunk_samples is None else np.full(len(table), chunk_samples)
    last = chunk == chunks - 1
    return [
        ("it has no id", table["id"].is_null().to_numpy()),
        ("its chunk lies outside 0..chunks - 1", (chunk < 0) | (chunk >= chunks)),
        ("it has no samples", samples < 1),
        ("first_frame is not where its chunk begins", first_frame != chunk * (length // FRAME_SAMPLES))
        if chunk_samples
        else ("first_frame is negative", first_frame < 0),
        ("num_samples is not what its chunk holds", np.where(last, samples > length, samples != length)),
        ("num_frames is not what num_samples take", frames != -(-samples // FRAME_SAMPLES)),
        ("duration_s is not num_samples / 24000", np.abs(duration_s - samples / SAMPLE_RATE) > 1e-6),
        ("its codes are not [num_frames, 16]", coded != frames),
        (f"codes outside 0..{codebook_size - 1}", (lowest < 0) | (highest >= codebook_size)),
    ]


def _codes_extent(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (-1: no codes, or a frame or code that is null), lowest and highest code of every row; 0 of no frames."""
    frames, lowest, highest = [], [], []
    for codes in column.chunks:
        lengths = pc.fill_null(pc.list_value_length(codes), -1).to_numpy().astype(np.int64)
        low, high = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
        values = codes.flatten()
        flat = values.flatten()
        if values.null_count or flat.null_count:
            lengths[:] = -1  # a writer never makes them: which row it is does not matter
        elif len(flat):
            full = lengths > 0
            begins = (np.cumsum(lengths[full]) - lengths[full]) * values.type.list_size
            low[full] = np.minimum.reduceat(flat.to_numpy(), begins)
            high[full] = np.maximum.reduceat(flat.to_numpy(), begins)
        frames.append(lengths)
        lowest.append(low)
        highest.append(high)
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *frames]), np.concatenate([empty, *lowest]), np.concatenate([empty, *highest])


def first_sound(rows: pa.Table) -> pa.Array:
    """bool [rows]: nothing is wrong with the row, and it is the first such of its (id, chunk)."""
    numbered = rows.select(["id", "chunk"]).append_column("at", pa.array(np.arange(len(rows))))
    fine = numbered.filter(rows["fault"].is_null())
    mask = np.zeros(len(rows), bool)
    mask[fine.group_by(["id", "chunk"]).aggregate([("at", "min")])["at_min"].to_numpy()] = True
    return pa.array(mask)


def recordings(rows: pa.Table) -> pa.Table:
    """A row a recording of `first_sound` rows: id; chunks_min and chunks_max, which differ where its rows disagree;
    chunk_count and num_samples_sum of the chunks that are there."""
    return rows.group_by("id").aggregate(
        [("chunks", "min"), ("chunks", "max"), ("chunk", "count"), ("num_samples", "sum")]
    )


def whole(found: pa.Table) -> pa.Table:
    """Those of `recordings` of which every chunk is there."""
    agreed = pc.equal(found["chunks_min"], found["chunks_max"])
    return found.filter(pc.and_(agreed, pc.equal(found["chunk_count"], found["chunks_max"])))
