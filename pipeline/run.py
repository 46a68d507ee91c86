"""A run on disk -> recordings with whole codes, tables, failures, a summary. Reads with pyarrow alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.errors import InputError
from pipeline.files import locate, redact
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, NUM_CODEBOOKS, SAMPLE_RATE
from pipeline.write import CODES, FAILURES, WAVES, parts, wave_path

RUN_FILE = "run.json"
SUCCESS_FILE = "_SUCCESS"
"""An empty file: the run is complete."""


@dataclass(frozen=True)
class Recording:
    """One whole recording of a run, its chunks joined."""

    id: str
    codes: np.ndarray = field(repr=False)  # int16 [F, 16]
    source: str
    num_samples: int  # at 24 kHz, before padding to whole frames
    source_rate: int  # Hz
    source_channels: int
    carried: dict[str, Any]
    wave: str | None  # path or URI of the reconstruction, None where there is none

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return self.num_samples / SAMPLE_RATE


class Run:
    """A finished (or still growing) run. Iterating yields every `Recording` once; memory stays small."""

    def __init__(self, location: str) -> None:
        self.location = str(location).rstrip("/")
        self.fs, self.path = locate(self.location)
        self._parts = _find_parts(self.fs, self.path)
        self._index: pa.Table | None = None

    def __repr__(self) -> str:
        return f"Run({redact(self.location)!r}, {len(self)} recordings)"

    def __len__(self) -> int:
        """Recordings whose chunks are all there."""
        return int(pc.sum(pc.equal(self.index["chunk"], 0)).as_py() or 0)

    def __iter__(self) -> Iterator[Recording]:
        whole = set(self._whole_long())
        waiting: dict[str, list[pa.Table]] = {}
        for part in self._parts:
            for batch in pq.ParquetFile(self.fs.open_input_file(part)).iter_batches(batch_size=256):
                rows = pa.Table.from_batches([batch])
                for row, (id_, chunks) in enumerate(
                    zip(rows["id"].to_pylist(), rows["chunks"].to_pylist(), strict=True)
                ):
                    if chunks == 1:
                        yield self._recording(rows.slice(row, 1))
                    elif id_ in whole:
                        waiting.setdefault(id_, []).append(rows.slice(row, 1))
                        if len(waiting[id_]) == chunks:
                            yield self._recording(pa.concat_tables(waiting.pop(id_)))

    def __contains__(self, id_: str) -> bool:
        return bool(pc.any(pc.equal(self.index["id"], id_)).as_py())

    def __getitem__(self, id_: str) -> Recording:
        """The recording of this id; KeyError where the run has no codes of it."""
        rows = self.index.filter(pc.equal(self.index["id"], id_))
        if not len(rows):
            raise KeyError(f"{id_!r} has no codes in {redact(self.location)} (see .failures())")
        found = [
            pq.read_table(self._parts[part], filesystem=self.fs, filters=pc.field("id") == id_)
            for part in sorted(set(rows["part"].to_pylist()))
        ]
        return self._recording(pa.concat_tables(found))

    @property
    def index(self) -> pa.Table:
        """id, chunk, chunks, num_samples, part of every row of a whole recording; read once."""
        if self._index is None:
            columns = ["id", "chunk", "chunks", "num_samples"]
            tables = [
                table.append_column("part", pa.array(np.full(len(table), number, np.int32)))
                for number, part in enumerate(self._parts)
                for table in [pq.read_table(part, columns=columns, filesystem=self.fs)]
            ]
            schema = pa.schema([*(CODES_SCHEMA.field(name) for name in columns), ("part", pa.int32())])
            rows = pa.concat_tables(tables) if tables else schema.empty_table()
            long = rows.filter(pc.greater(rows["chunks"], 1))
            counts = long.group_by(["id", "chunks"]).aggregate([("chunk", "count_distinct")])
            partial = counts.filter(pc.less(counts["chunk_count_distinct"], counts["chunks"]))["id"]
            self._index = rows.filter(pc.invert(pc.is_in(rows["id"], partial.combine_chunks())))
        return self._index

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """RUN/codes as one Arrow table, a row a chunk; `columns` narrows it (codes: 400 bytes a second)."""
        if not self._parts:
            return CODES_SCHEMA.empty_table().select(columns or CODES_SCHEMA.names)
        return self.dataset().to_table(columns=columns)

    def dataset(self) -> ds.Dataset:
        """RUN/codes as a pyarrow dataset, for what is too large for one table."""
        return ds.dataset(self._parts, filesystem=self.fs, format="parquet")

    def failures(self) -> pa.Table:
        """RUN/failures: id, source, stage, error, message."""
        tables = [pq.read_table(part, filesystem=self.fs) for part in parts(self.fs, self.path, FAILURES)]
        return pa.concat_tables(tables) if tables else FAILURES_SCHEMA.empty_table()

    def summary(self) -> dict[str, Any]:
        """run.json: settings, model, versions, counts, times. Empty for a bare folder of parts."""
        return read_run_file(self.fs, self.path) or {}

    def _whole_long(self) -> list[str]:
        long = self.index.filter(pc.greater(self.index["chunks"], 1))
        return pc.unique(long["id"]).to_pylist()

    def _recording(self, rows: pa.Table) -> Recording:
        rows = rows.sort_by("chunk")
        codes = rows["codes"].combine_chunks().flatten().flatten().to_numpy().reshape(-1, NUM_CODEBOOKS)
        first = rows.drop_columns(["codes"]).slice(0, 1).to_pylist()[0]
        wave = wave_path(f"{self.path}/{WAVES}", first["id"])
        return Recording(
            id=first["id"],
            codes=codes,
            source=first["source"],
            num_samples=pc.sum(rows["num_samples"]).as_py(),
            source_rate=first["source_rate"],
            source_channels=first["source_channels"],
            carried={name: value for name, value in first.items() if name not in CODES_SCHEMA.names},
            wave=wave if self.fs.get_file_info(wave).type == FileType.File else None,
        )


def _find_parts(fs: FileSystem, path: str) -> list[str]:
    """The parts of a run, or `path` itself if it is a file, or the Parquet files of a plain folder."""
    if fs.get_file_info(path).type == FileType.File:
        return [path]
    found = fs.get_file_info(FileSelector(path, allow_not_found=True))
    return parts(fs, path, CODES) or sorted(info.path for info in found if info.base_name.endswith(".parquet"))


def open_run(location: str | Path) -> Run:
    """Open RUN (a folder or URI), or any Parquet file or folder of them with the codes schema.

    Raises InputError where there is no run.
    """
    run = Run(str(location))
    if not run._parts and read_run_file(run.fs, run.path) is None:
        raise InputError(f"{redact(str(location))} holds no run: expected {RUN_FILE} or {CODES}/part-*.parquet in it.")
    for part in run._parts[:1]:
        missing = set(CODES_SCHEMA.names) - set(pq.read_schema(part, filesystem=run.fs).names)
        if missing:
            raise InputError(f"{redact(part)} has no column {', '.join(sorted(missing))}: it is not a part of a run.")
    return run


def read_run_file(fs: FileSystem, run: str) -> dict[str, Any] | None:
    """The content of RUN/run.json; None where there is none."""
    path = f"{run}/{RUN_FILE}"
    if fs.get_file_info(path).type != FileType.File:
        return None
    with fs.open_input_stream(path) as file:
        return json.loads(file.read())
