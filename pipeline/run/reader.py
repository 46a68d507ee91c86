"""A run on disk -> complete recordings, tables, failures, a summary. Needs neither Ray nor PyTorch."""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSelector, FileSystem, FileType

from actors.contract import NUM_CODEBOOKS, SAMPLE_RATE
from pipeline.errors import InputError, OutputError, plural
from pipeline.run.chunks import lacking, refuse_doubles, refuse_gaps
from pipeline.run.claims import may_be_written
from pipeline.run.find_waves import Wave, Waves
from pipeline.run.layout import CODES, FAILURES, REPORT_FILE, RUN_FILE, SKIPPED, SUCCESS_FILE, parts
from pipeline.run.parts import join, join_schemas, part_schema, read_part, read_rows, stream_parts
from pipeline.run.plain import plain_rows, plain_value
from pipeline.run.run_json import read_run_file
from pipeline.run.whole import Whole, find_whole, refuse_other_parts
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.storage.at_once import at_once, on_store
from pipeline.storage.filesystem import locate
from pipeline.storage.id_set import among, id_set
from pipeline.storage.location import redact
from pipeline.storage.text import id_hashes

if TYPE_CHECKING:
    import pandas
    import pyarrow.dataset

    from pipeline.loading import Sound
    from pipeline.run.listening import Listening
    from pipeline.run.token_layouts import Layout
    from pipeline.run.torch_dataset import RecordingsDataset

FINISHED = ("complete", "limited")
"""States of a run that nothing writes to."""
INDEX = ["id", "chunk", "chunks", "num_samples"]
FIRST_SHOWN = 5
"""Recordings that a notebook shows of a run."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One complete recording of a run, its chunks joined. Equal only to itself; compare `id` and `codes`."""

    id: str
    codes: np.ndarray = field(repr=False)  # int16 [F, 16]
    source: str
    start_s: float | None  # of a segment of `source`
    end_s: float | None
    channel: int | None  # of `source`, from 1; None: the mean over all
    num_samples: int  # at 24 kHz, before padding to whole frames
    source_rate: int  # Hz
    source_channels: int
    source_size: int | None  # bytes of the file, or of the container; None: unknown
    carried: dict[str, Any]  # a value that Python cannot hold (a date in the year 10000) is Arrow's text of it
    waves: Waves
    part: str  # the path of the part that holds its (last) chunk

    def __repr__(self) -> str:
        return f"Recording({self.id!r}, {self.duration_s:.2f} s, codes int16 [{len(self.codes)}, {NUM_CODEBOOKS}])"

    @property
    def wave(self) -> Wave | None:
        """The reconstruction, as `soundfile.read` takes it: the path of its file, or the open file of a member of a
        shard; None if there is none. Looked up when asked for."""
        return self.waves.find(self.id, self.part)

    def open_wave(self) -> BinaryIO | None:
        """The reconstruction as an open file, on any file system; None if there is none."""
        return self.waves.open(self.id, self.part)

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return self.num_samples / SAMPLE_RATE

    def _repr_html_(self) -> str:
        from pipeline.run.listening import read_wave
        from pipeline.view.shown import show_recording

        return show_recording(vars(self), *read_wave(self.open_wave))


class Run:
    """A finished (or still growing) run. Iterating yields every `Recording` once, in bounded memory.

    Every method that reads raises OutputError if a part or run.json is damaged.
    """

    def __init__(self, location: str) -> None:
        self.location = str(location).rstrip("/")
        self.fs, self.path = locate(self.location)
        self.paths = _find_parts(self.fs, self.path)  # of the parts of codes, as "part" of `index` numbers them
        self._index: pa.Table | None = None
        self._rows = np.empty(0, np.int32)  # of each row of the index, its number in its part
        self._waves = Waves(self.fs, self.path)

    def __repr__(self) -> str:
        return f"Run({redact(self.location)!r}, {plural(len(self), 'recording')})"

    def _repr_html_(self) -> str:
        from pipeline.view.shown import show_run

        first, summary = itertools.islice(self, FIRST_SHOWN), self.summary()
        if summary.get("state") == "running" and not may_be_written(self.fs, self.path):
            summary["state"] = "stopped"
        return show_run(self.location, summary, len(self), self.failures(), [vars(one) for one in first])

    def __len__(self) -> int:
        """Recordings that have all their chunks."""
        return int(pc.sum(pc.equal(self.index["chunk"], 0)).as_py() or 0)

    def __iter__(self) -> Iterator[Recording]:
        return self._read(self.paths, None)

    def some(self, ids: Iterable[str]) -> Iterator[Recording]:
        """The recordings with these ids, as far as the run has them; reads only the parts that hold them.

        Raises InputError for a single string.
        """
        if isinstance(ids, str):
            raise InputError(f"some() takes a list of ids; {ids!r} is one. Use run[{ids!r}], or some([{ids!r}]).")
        wanted = frozenset(ids)
        rows = self.index.filter(pc.is_in(self.index["id"], pa.array(list(wanted), pa.string())))
        return self._read([self.paths[part] for part in sorted(set(rows["part"].to_pylist()))], wanted)

    def _read(self, paths: list[str], wanted: frozenset[str] | None) -> Iterator[Recording]:
        whole = set(self._whole_long())
        asked = None if wanted is None else pa.array(list(wanted), pa.string())
        waiting: dict[str, list[pa.Table]] = {}
        for number, rows in stream_parts(self.fs, paths):
            if asked is not None:
                rows = rows.filter(pc.is_in(rows["id"], asked))
            codes = rows["codes"].combine_chunks()
            values = plain_rows(rows.drop_columns(["codes"]))
            for row, first in enumerate(values):
                id_, chunks = first["id"], first["chunks"]
                if chunks == 1:
                    frames = codes[row].values.flatten().to_numpy().reshape(-1, NUM_CODEBOOKS)
                    yield self._of(first, frames, first["num_samples"], paths[number])
                elif id_ in whole:
                    waiting.setdefault(id_, []).append(rows.slice(row, 1))
                    if len(waiting[id_]) == chunks:
                        yield self._recording(join(waiting.pop(id_), self.paths), paths[number])

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and bool(pc.any(pc.equal(self.index["id"], id_)).as_py())

    def holding(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` of which the run has codes; its index is looked through once."""
        held = self.index["id"]
        asked = pa.array([id_ for id_ in ids if isinstance(id_, str)], pa.string())
        return set(held.filter(pc.is_in(held, value_set=asked)).to_pylist()) if ids else set()

    def __getitem__(self, id_: str) -> Recording:
        """The recording with this id; KeyError if the run has no codes of it, TypeError for a number or a slice."""
        if not isinstance(id_, str):
            raise TypeError(
                f"run[{id_!r}]: ids are strings, and a run has no order. Iterate over the run, or give a DataLoader"
                " run.torch_dataset()."
            )
        found = np.flatnonzero(pc.equal(self.index["id"], id_).to_numpy())
        if not len(found):
            raise KeyError(self._why_missing(id_))
        holders, rows = self.index["part"].take(pa.array(found)).to_numpy(), self._rows[found]
        paths = [self.paths[part] for part in np.unique(holders).tolist()]
        tables = [
            read_rows(self.fs, path, rows[holders == part].tolist())
            for part, path in zip(np.unique(holders).tolist(), paths, strict=True)
        ]
        return self._recording(join(tables, paths), paths[0])

    def _why_missing(self, id_: str) -> str:
        """Why the run has no codes of a recording."""
        where = redact(self.location)
        if _find_parts(self.fs, self.path) != self.paths:
            return f"{id_!r}: {where} has changed since it was opened; open it again"
        with contextlib.suppress(OutputError):  # a damaged part of them is no reason
            for rows, how in ((self.failures(), "failed"), (self.skipped(), "was skipped")):
                for row in rows.filter(pc.equal(rows["id"], id_)).to_pylist():
                    return f"{id_!r} {how} in {where}: {row['error']}: {row['message']}"
        return f"{where} holds no whole recording {id_!r}; its ids begin with {self.index['id'][:3].to_pylist()}"

    @property
    def index(self) -> pa.Table:
        """id, chunk, chunks, num_samples, part of every row of a complete recording; read once."""
        if self._index is None:
            read = functools.partial(read_part, self.fs, schema=CODES_SCHEMA, columns=INDEX)
            tables = list(at_once(read, self.paths))
            numbers = (np.full(len(table), number, np.int32) for number, table in enumerate(tables))
            parted = [table.append_column("part", pa.array(part)) for table, part in zip(tables, numbers, strict=True)]
            schema = pa.schema([*(CODES_SCHEMA.field(name) for name in INDEX), ("part", pa.int32())])
            rows = pa.concat_tables([schema.empty_table(), *parted])
            hashes = id_hashes(rows["id"])
            refuse_doubles(rows, hashes, self.location)
            whole = ~lacking(rows, hashes)
            within = np.concatenate([np.empty(0, np.int32), *(np.arange(len(one), dtype=np.int32) for one in tables)])
            self._index, self._rows = rows.filter(pa.array(whole)), within[whole]
        return self._index

    def table(self, columns: str | Sequence[str] | None = None) -> pa.Table:
        """RUN/codes as one Arrow table, one row per chunk; `columns` selects one or some (codes: 400 bytes a second).

        Raises InputError for a column that no part has.
        """
        columns = [columns] if isinstance(columns, str) else list(columns or [])
        read = functools.partial(read_part, self.fs, schema=CODES_SCHEMA, columns=columns or None)
        tables = list(on_store(self.fs, read, self.paths))
        table = join(tables, self.paths) if tables else CODES_SCHEMA.empty_table()
        unknown = [name for name in columns if name not in table.column_names]
        if unknown:
            raise InputError(f"{redact(self.location)} has no column {', '.join(map(repr, unknown))}.")
        return table.select(columns or table.column_names)

    def to_pandas(self, codes: bool = False) -> "pandas.DataFrame":
        """One row a complete recording: id, source, lengths, rates, and the columns that came with the input.

        With `codes` also a column of int16 [F, 16]. Memory: 0.2 kB a recording, 1 kB while it is made; codes take 400
        bytes a second. Ids and columns of long text count on top.
        """
        from pipeline.run.frame import frame_of

        names = [name for name in self.dataset().schema.names if name != "codes"]
        rows = self.table(names)
        frame = frame_of(rows.filter(pa.array(among(rows["id"], id_set(self.index["id"])))))
        if codes:
            found = {recording.id: recording.codes for recording in self}
            frame["codes"] = frame["id"].map(found)
        return frame

    def listen(self, id_: str, original: "Sound | None" = None) -> "Listening":
        """A recording before and after the codec, to hear and to see in a notebook: its first 15 s.

        `original`: where its source is now, as `load_audio` takes it; by default the recorded location. Raises KeyError
        if the run has no codes of `id_`; what cannot be read is said in the result's `problems`.
        """
        from pipeline.loading import source_rules
        from pipeline.run.listening import Segment, listen

        found, rules = self[id_], source_rules(self.summary())
        size = found.source_size if original is None else None
        source = found.source if original is None else original
        if isinstance(source, tuple):  # an array has no tracks
            rules = rules._replace(track=None)
        segment = Segment(source, found.start_s, found.end_s, found.channel, rules, size)
        return listen(id_, found.duration_s, segment, found.open_wave)

    def dataset(self) -> "pyarrow.dataset.Dataset":
        """RUN/codes as a pyarrow dataset, for runs that are too large for one table. Its rows are not validated."""
        import pyarrow.dataset  # here, for it imports pandas

        schemas = on_store(self.fs, functools.partial(part_schema, self.fs), self.paths)
        schema = join_schemas(schemas, self.paths)
        return pyarrow.dataset.dataset(self.paths, schema=schema, filesystem=self.fs, format="parquet")

    def torch_dataset(
        self,
        *,
        layout: "Layout" = "frames",
        columns: str | Sequence[str] = (),
        shuffle: bool = False,
        seed: int = 0,
        buffer: int = 1000,
        rank: int | None = None,
        world: int | None = None,
    ) -> "RecordingsDataset":
        """A PyTorch IterableDataset of {"id", "codes", `columns`}: each recording once over all workers and ranks.

        `layout`: frames [F, 16], interleaved [F * 16] or delayed [F + 15, 16] (see `pipeline.run.token_layouts`).
        `shuffle`: the parts in an order of `seed` and `set_epoch`, then a buffer of `buffer` recordings a worker.
        `rank` of `world`: whose share it is; by default that of torch.distributed, else of RANK and WORLD_SIZE. 0 of 1
        gives each process all of it: for what deals out itself, as Hugging Face's Trainer and Accelerate do, and for
        ranks that share their data. Raises InputError for arguments that do not fit, OutputError as `whole` does.
        """
        from pipeline.run.torch_dataset import RecordingsDataset

        if (rank is None) != (world is None):
            raise InputError(f"rank is {rank!r} and world is {world!r}: give both, or none.")
        place = None if rank is None or world is None else (rank, world)
        return RecordingsDataset(self.whole(), layout, columns, shuffle, seed, buffer, place)

    def whole(self) -> Whole:
        """What `pipeline.run.whole` reads: a row a recording, in a fixed order, in flat memory.

        Raises OutputError where a finished run has other parts than its run.json names, and where bare Parquet holds a
        recording twice.
        """
        self.refuse_other_parts()
        return find_whole(self.fs, self.paths, self.location)

    def refuse_other_parts(self) -> None:
        """Raise OutputError where a finished run has other parts than its run.json names: an incomplete copy, or one
        over an older one. Of bare Parquet: where a recording is there twice."""
        summary = self.summary()
        if not summary:
            self.index  # noqa: B018 (raises OutputError for recordings that are there twice)
        if summary.get("state") in FINISHED and "parts" in summary:
            refuse_other_parts(self.paths, summary["parts"], self.location)

    def failures(self) -> pa.Table:
        """RUN/failures: FAILURES_SCHEMA, among them id, source, stage, error, message."""
        return self._rows_of(FAILURES)

    def skipped(self) -> pa.Table:
        """RUN/skipped: recordings that `input.min_s`, `input.max_s` and `input.vad` left out; FAILURES_SCHEMA."""
        return self._rows_of(SKIPPED)

    def _rows_of(self, folder: str) -> pa.Table:
        paths = parts(self.fs, self.path, folder)
        read = functools.partial(read_part, self.fs, schema=FAILURES_SCHEMA, columns=FAILURES_SCHEMA.names)
        return pa.concat_tables([FAILURES_SCHEMA.empty_table(), *on_store(self.fs, read, paths)])

    def summary(self) -> dict[str, Any]:
        """run.json: settings, model, versions, counts, times. Empty for a bare folder of parts."""
        return read_run_file(self.fs, self.path) or {}

    def _whole_long(self) -> list[str]:
        first = self.index.filter(pc.equal(self.index["chunk"], 0))
        return first.filter(pc.greater(first["chunks"], 1))["id"].to_pylist()

    def _recording(self, rows: pa.Table, part: str) -> Recording:
        if rows["chunks"][0].as_py() > 1:
            rows = rows.sort_by("chunk")
            refuse_gaps(rows, np.array([0]), self.location)
        codes = rows["codes"].combine_chunks().flatten().flatten().to_numpy().reshape(-1, NUM_CODEBOOKS)
        first = {
            name: plain_value(rows[name].slice(0, 1).combine_chunks()) for name in rows.column_names if name != "codes"
        }
        return self._of(first, codes, pc.sum(rows["num_samples"]).as_py(), part)

    def _of(self, first: dict[str, Any], codes: np.ndarray, num_samples: int, part: str) -> Recording:
        """`first`: the row of its first chunk."""
        return Recording(
            id=first["id"],
            codes=codes.copy(),  # Arrow's memory is read-only, of which torch.from_numpy warns, and of a whole batch
            source=first["source"],
            start_s=first["start_s"],
            end_s=first["end_s"],
            channel=first["channel"],
            num_samples=num_samples,
            source_rate=first["source_rate"],
            source_channels=first["source_channels"],
            source_size=first["source_size"],
            carried={name: value for name, value in first.items() if name not in CODES_SCHEMA.names},
            waves=self._waves,
            part=part,
        )


def _find_parts(fs: FileSystem, path: str) -> list[str]:
    """The parts of a run, or `path` itself if it is a file, or the Parquet files of any other folder."""
    if fs.get_file_info(path).type == FileType.File:
        folder, _, name = path.rpartition("/")
        if name in (RUN_FILE, REPORT_FILE, SUCCESS_FILE):
            raise InputError(f"{redact(path)} is a file of a run; expected the folder of the run: {redact(folder)}")
        return [path]
    if there := parts(fs, path, CODES):
        return there
    found = fs.get_file_info(FileSelector(path, allow_not_found=True))
    return sorted(info.path for info in found if info.base_name.endswith(".parquet"))


def location_of(run: str | Path | Run) -> str:
    """Where a run is: a folder, a URI, or what `open_run` gave."""
    return run.location if isinstance(run, Run) else str(run)


def open_run(location: str | Path | Run) -> Run:
    """Open RUN (a folder or URI; of a `Run`, once more), or any Parquet file or folder of them with the codes schema.

    Raises InputError if there is no run, OutputError if its first part or run.json is damaged.
    """
    run = Run(location_of(location))
    if not run.paths and read_run_file(run.fs, run.path) is None:
        raise InputError(f"{redact(run.location)} holds no run: expected {RUN_FILE} or {CODES}/part-*.parquet in it.")
    for part in run.paths[:1]:
        part_schema(run.fs, part)
    return run
