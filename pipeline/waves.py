"""Codes of a run -> decode pool -> waves: the second, shorter dataflow."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from pyarrow.fs import FileSystem, LocalFileSystem
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource
from ray.data.datasource import ReadTask as RayReadTask

from actors.contract import FRAME_SAMPLES, SAMPLE_RATE
from actors.pools.arrow import CODES_TYPE, codes_array
from actors.pools.decode import DecodeCodes
from actors.pools.isolate import Ledger
from pipeline.cluster.keeper import RemoteLedger, keep
from pipeline.cluster.load import Decoding, load_codec
from pipeline.cluster.session import data_context
from pipeline.errors import InputError
from pipeline.run.join_waves import join_each
from pipeline.run.layout import FILES, SHARD, WaveKind, long_shard, pieces_path, shards
from pipeline.run.reader import Run, open_run
from pipeline.run.resume import refuse_unshared
from pipeline.run.shards import drop_hashed, keep_one_each
from pipeline.run.write import part_name
from pipeline.run.write_waves import remove_pieces, waiting, write_waves, write_waves_to_shard
from pipeline.schema import CODES_SCHEMA
from pipeline.storage.id_set import id_set
from pipeline.storage.location import absolute, redact

ROWS_PER_CALL = {"cpu": 4, "cuda": 8}
"""Chunks that one call decodes; with the longest chunks of 300 s that is 230 MB of float32 waves on a GPU."""
ROWS_PER_SHARD = 64
"""Chunks whose waves share a shard, which a writer holds in memory: with the longest chunks of 300 s, 920 MB."""
_FAILURE = ("stage", "error", "message")
_ROW_SCHEMA = pa.schema(
    [
        *(CODES_SCHEMA.field(name) for name in ("id", "source", "chunk", "chunks", "num_samples", "codes")),
        ("context_codes", CODES_TYPE),
        *((name, pa.string()) for name in _FAILURE),
    ]
)


@dataclass(frozen=True)
class Decoded:
    """What was written."""

    waves: int
    audio_s: float
    failures: list[str]  # "id: Error: message"


def decode_codes(
    run: Run, ids: list[str] | None, fs: FileSystem, folder: str, how: Decoding, kind: WaveKind = FILES
) -> Decoded:
    """Decode recordings of `run` (all, or those in `ids`) to waves in `folder` of `fs`, instead of those of these
    recordings that are there. Ray is running."""
    if isinstance(fs, LocalFileSystem):
        os.makedirs(folder, exist_ok=True)
    with keep(ledger=Ledger) as kept, data_context(how.block_bytes, how.stall_s):
        rows = _graph(run, ids, fs, folder, how, kind, RemoteLedger(kept["ledger"]))
        blocks = [cast(pa.Table, block) for block in rows.iter_batches(batch_size=None, batch_format="pyarrow")]
    if not blocks:
        raise InputError(f"{redact(run.location)} has no recordings with codes to decode.")
    written = pa.concat_tables(blocks)
    failed = {row["id"]: row for row in written.filter(pc.is_valid(written["stage"])).to_pylist()}
    totals = written.group_by(["id", "chunks"]).aggregate([("num_samples", "sum")])
    long = totals.filter(pc.greater(totals["chunks"], 1)).to_pylist()  # the others stay in Arrow: there may be millions
    whole = [row for row in long if row["id"] not in failed]
    join_each(fs, folder, ((row["id"], row["chunks"], row["num_samples_sum"]) for row in whole), kind)
    own = {pieces_path(folder, row["id"]) for row in long}
    remove_pieces(fs, folder, waiting(fs, folder) - own)  # those of other recordings may wait for their other chunks
    good = totals.filter(pc.invert(pc.is_in(totals["id"], value_set=pa.array([*failed], pa.string()))))
    if kind.layout == "tar":
        names = [*written["shard"].unique().to_pylist(), *(long_shard(row["id"]) for row in whole)]
        _keep_newest(fs, folder, names, good["id"])
    return Decoded(
        waves=len(good),
        audio_s=(pc.sum(good["num_samples_sum"]).as_py() or 0) / SAMPLE_RATE,
        failures=[f"{row['id']}: {row['error']}: {row['message']}" for row in failed.values()],
    )


def _graph(
    run: Run, ids: list[str] | None, fs: FileSystem, folder: str, how: Decoding, kind: WaveKind, attempts: RemoteLedger
) -> ray.data.Dataset:
    length, context = how.chunk_samples // FRAME_SAMPLES, how.context_samples // FRAME_SAMPLES
    location = absolute(run.location)  # workers may have another working directory
    rows = ray.data.read_datasource(Codes(functools.partial(_chunks, location, ids, length, context)))
    rows = rows.repartition(target_num_rows_per_block=ROWS_PER_CALL[how.codec.device])
    rows = rows.map_batches_internal(  # as in flow.graph
        DecodeCodes,
        fn_constructor_kwargs={
            "load": functools.partial(load_codec, how.codec),
            "attempts": attempts,
            "stall_s": how.stall_s,
        },
        batch_format="pyarrow",
        **how.pool.arguments(),
    )
    size = ROWS_PER_SHARD if kind.layout == "tar" else None
    rows = rows.map_batches(_write, fn_args=(fs, folder, kind), batch_size=size, batch_format="pyarrow", num_cpus=0.5)
    return rows.select_columns(["id", "chunk", "chunks", "num_samples", "shard", *_FAILURE])


def _write(rows: pa.Table, fs: FileSystem, folder: str, kind: WaveKind) -> pa.Table:
    """Write column "wave" as `kind` says and put the name of the shard, or null, in its place."""
    if isinstance(fs, LocalFileSystem):
        refuse_unshared(folder, folder)
    name = None
    if kind.layout == "tar":
        name = f"decoded-{part_name(rows).removeprefix('part-').removesuffix('.parquet')}{SHARD}"
        rows = write_waves_to_shard(rows, fs, f"{folder}/{name}", kind.format)
    else:
        rows = write_waves(rows, fs, folder, format=kind.format)
    return rows.append_column("shard", pa.array([name] * len(rows), pa.string()))


def _keep_newest(fs: FileSystem, folder: str, written: list[str], ids: pa.ChunkedArray) -> None:
    """Of the recordings `ids`, which were written just now to the shards `written`, drop the waves in older shards, and
    second ones."""
    new = {f"{folder}/{name}" for name in written}
    there = shards(fs, folder)
    drop_hashed(fs, [path for path in there if path not in new], id_set(ids))
    keep_one_each(fs, [path for path in there if path in new])


class Codes(Datasource):
    """A single read task that streams rows of codes: one core reads codes faster than a hundred GPUs decode them."""

    def __init__(self, read: Any) -> None:
        super().__init__()
        self.read = read

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[RayReadTask]:
        """The one task."""
        return [RayReadTask(self.read, BlockMetadata(None, None, None, None))]

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown."""
        return None


def _chunks(location: str, ids: list[str] | None, length: int, context: int) -> Iterator[pa.Table]:
    """Whole recordings -> rows of at most `length` frames, each with the `context` frames before it."""
    run = open_run(location)
    for recording in run if ids is None else run.some(ids):
        firsts = range(0, max(1, len(recording.codes)), length)
        for chunk, first in enumerate(firsts):
            samples = min(recording.num_samples - first * FRAME_SAMPLES, length * FRAME_SAMPLES)
            values: dict[str, list[Any]] = {
                "id": [recording.id],
                "source": [recording.source],
                "chunk": [chunk],
                "chunks": [len(firsts)],
                "num_samples": [samples],
            }
            arrays = {
                "codes": codes_array([recording.codes[first : first + length]]),
                "context_codes": codes_array([recording.codes[max(0, first - context) : first]]),
            }
            columns = [
                arrays.get(field.name, pa.array(values.get(field.name, [None]), field.type)) for field in _ROW_SCHEMA
            ]
            yield pa.Table.from_arrays(columns, schema=_ROW_SCHEMA)
