"""A part -> what tells its rows from others: ids, their hashes, chunks, fingerprints; and its sums. All other columns
are let go."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from actors.contract import FRAME_SAMPLES
from pipeline.run.parts import read_part, read_with_schema
from pipeline.run.transient import may_pass
from pipeline.schema import CODES_SCHEMA, EACH, FAILURES_SCHEMA, FINGERPRINT_SCHEMA, file_ids
from pipeline.storage.text import id_hashes

PLACE = ["channel", "source_channels", "stretches"]
"""Columns that say where in its file a recording is."""
OF_CHUNKS = ["id", "chunk", "chunks", "first_frame", "num_frames", "num_samples", "source_channels"]
READ = [*OF_CHUNKS, *FINGERPRINT_SCHEMA.names]
SHORT = {"chunk": 0, "chunks": 1, "print": b"", "samples": 0}
"""What `PartKeys.of` says of recordings of one chunk."""


@dataclass(frozen=True)
class PartKeys:
    """Of a part of codes, failures or skipped ones: 24 bytes a row and its id, 24 more for a chunk of several."""

    ids: pa.Array  # large_string [rows]
    hashes: np.ndarray  # "S16" [rows]: `id_hashes`
    long: np.ndarray  # int32: the numbers of the rows that are a chunk of several, and
    chunks_of: dict[str, np.ndarray]  # of those, by the names in SHORT; "print": "S8", a hash of the fingerprint
    placed: pa.Table  # id, chunk and PLACE of the channels and stretches of speech
    passing: np.ndarray  # bool [rows] for failures, else [0]: another attempt may not meet it
    sums: dict[str, int]  # over all rows: recordings (first chunks), frames, samples (at 24 kHz)
    begins: np.ndarray  # int64: samples before each chunk that is not a recording's first
    carried: pa.Schema  # the columns that came with the input, of parts of codes

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, name: str) -> np.ndarray:
        """[rows]: one of SHORT."""
        kind = self.chunks_of[name].dtype
        column = np.full(len(self.ids), SHORT[name], kind)
        column[self.long] = self.chunks_of[name]
        return column


def coded_keys(fs: FileSystem, path: str) -> tuple[pa.Table, PartKeys]:
    """The keys of a part of codes, and its columns READ. Raises OutputError for a part that is none."""
    schema, rows = read_with_schema(fs, path, CODES_SCHEMA, READ)
    carried = pa.schema([field for field in schema if field.name not in CODES_SCHEMA.names])
    long = np.flatnonzero(rows["chunks"].to_numpy() > 1).astype(np.int32)
    some = rows.take(pa.array(long))
    chunks_of = {"chunk": some["chunk"].to_numpy(), "chunks": some["chunks"].to_numpy()}
    chunks_of["print"] = prints(some, ["chunks", *FINGERPRINT_SCHEMA.names])
    chunks_of["samples"] = pc.fill_null(some["num_samples"], 0).to_numpy()
    first, begins = rows["first_frame"], pc.not_equal(rows["first_frame"], 0)
    sums = {
        "recordings": pc.sum(pc.equal(rows["chunk"], 0)).as_py() or 0,
        "frames": pc.sum(rows["num_frames"]).as_py() or 0,
        "samples": pc.sum(rows["num_samples"]).as_py() or 0,
    }
    before = first.filter(begins).to_numpy() * FRAME_SAMPLES
    return rows, _keys(rows, long, chunks_of, np.empty(0, bool), sums, before, carried)


def failed_keys(fs: FileSystem, path: str) -> tuple[pa.Table, PartKeys]:
    """As `coded_keys`, of a part of failures or skipped ones. Reads all columns: damage is reported before a run."""
    rows = read_part(fs, path, FAILURES_SCHEMA, FAILURES_SCHEMA.names)
    none = {"chunk": np.empty(0, np.int32), "chunks": np.empty(0, np.int32), "print": np.empty(0, "S8")}
    none["samples"] = np.empty(0, np.int64)
    passing = may_pass(rows).to_numpy()
    rows = rows.append_column("chunk", pa.array(np.zeros(len(rows), np.int32)))
    return rows, _keys(rows, np.empty(0, np.int32), none, passing, {}, np.empty(0, np.int64), pa.schema([]))


def _keys(
    rows: pa.Table,
    long: np.ndarray,
    chunks_of: dict[str, np.ndarray],
    passing: np.ndarray,
    sums: dict[str, int],
    begins: np.ndarray,
    carried: pa.Schema,
) -> PartKeys:
    ids = rows["id"].cast(pa.large_string()).combine_chunks()
    ids = ids.chunk(0) if isinstance(ids, pa.ChunkedArray) else ids
    return PartKeys(ids, id_hashes(ids), long, chunks_of, _placed(rows), passing, sums, begins, carried)


def _placed(rows: pa.Table) -> pa.Table:
    """Those of `rows` that are `in_file`."""
    rows = rows.select(["id", "chunk", *PLACE]).filter(pa.array(in_file(rows)))
    return rows.set_column(0, "id", rows["id"].cast(pa.large_string()))


def in_file(rows: pa.Table) -> np.ndarray:
    """bool [rows]: by id and PLACE it is a channel of a file of which each is a recording, or a stretch of speech."""
    found = rows["stretches"].is_valid().to_numpy().copy()
    channel = np.flatnonzero(pc.fill_null(pc.greater(rows["channel"], EACH), False).to_numpy() & ~found)
    if len(channel):
        some = rows.select(["id", "channel"]).take(pa.array(channel))
        named = pc.binary_join_element_wise(file_ids(some["id"]), some["channel"].cast(pa.string()), "@ch")
        found[channel] = pc.fill_null(pc.equal(named, some["id"]), False).to_numpy()
    return found


def prints(rows: pa.Table, names: list[str]) -> np.ndarray:
    """ "S8" [rows]: hashes of the columns `names` together, such as of fingerprints."""
    columns = [rows[name].cast(pa.string()) for name in names]
    together = pc.binary_join_element_wise(*columns, "\0", null_handling="replace", null_replacement="\1")
    return id_hashes(together).astype("S8")
