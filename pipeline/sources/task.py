"""What planning hands to reading: a `ReadTask` of Arrow rows; and what reading hands on: an `InputRecording` each."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import CHUNK_SCHEMA, CODES_SCHEMA, EACH, FAILURES_SCHEMA
from pipeline.sources.rows import is_empty, packed, unpacked
from pipeline.storage.access import Access
from pipeline.storage.location import redact
from pipeline.storage.stamp import UNKNOWN, Stamp
from pipeline.storage.text import clean_id

Kind = Literal["files", "tar", "zip", "parquet", "arrow", "manifest"]
"""The keys of `formats.FORMATS`."""


UNIT_SCHEMA = pa.schema(
    [
        ("@id", pa.string()),  # of the recording, or of the container
        ("@location", pa.string()),  # where to open it, credentials and all: never shown, see location.redact
        ("@start_s", pa.float64()),  # null: from the beginning
        ("@end_s", pa.float64()),  # null: to the end
        ("@channel", pa.int32()),  # from 1; null: the mean over all; EACH: all, each by itself
        ("@row_group", pa.int32()),  # of a Parquet shard; null: all of them
        ("@bytes", pa.int64()),  # listed, or estimated
        ("@size", pa.int64()),  # of the file, and
        ("@version", pa.string()),  # its version, as listed: a `Stamp`
    ]
)
"""One row of `ReadTask.units`; for files, the carried columns follow with the plan's types. "@" keeps them apart."""

RANGE_SCHEMA = pa.schema([("@first_chunk", pa.int32()), ("@last_chunk", pa.int32()), ("@samples", pa.int64())])
"""`Range`, behind the other columns in tasks of recordings that several tasks share. No others have these columns: a
plan of millions of files would carry as many nulls."""

MAX_WEIGHT = 2**36
"""Of "@bytes": a hostile manifest or footer may claim anything, and five million of these still add up in an int64."""

RESERVED = frozenset(
    CODES_SCHEMA.names + CHUNK_SCHEMA.names + FAILURES_SCHEMA.names + UNIT_SCHEMA.names + RANGE_SCHEMA.names
)
"""Names that a carried column cannot have on its way to the output."""


NONE = pa.chunked_array([], pa.large_string())
"""No ids."""


@dataclass(frozen=True)
class ReadTask:
    """What one worker reads in one go. Small and picklable."""

    kind: Kind
    units: pa.Table  # UNIT_SCHEMA; for files, the carried columns and, where recordings are shared, RANGE_SCHEMA
    carried: pa.Schema  # of every item, whatever its source has
    done: pa.ChunkedArray  # large_string: committed ids of what is in `units`, unless they are `listed`: then none is
    prefixed: bool  # ids of a container's recordings start with the container's own id and "/"
    column: str | None  # the audio column of Parquet shards, where the user named it
    access: Access  # how they are opened
    channel: int | None = None  # of the recordings in containers: as "@channel"
    limit: int | None = None  # of containers: only so many recordings, in their order, committed ones counted
    vad: bool = False  # stretches of speech are the recordings, not what `units` say
    ahead: bool = True  # small files of stores are fetched before they are asked for

    @property
    def listed(self) -> bool:
        """Whether `units` are its recordings; else only reading it tells how many there are, and `done` those read."""
        return self.kind == "files" and not self.vad and not has_split(self.units)

    def __getstate__(self) -> dict[str, Any]:
        """On the driver `units` and `done` are views of one large table, and pickling a view sends all of it.

        Rows are sent (27 to 51 bytes a recording, measured), not their numbers in a manifest for workers to read: that
        may lie on the driver's disk alone, only Parquet can be read from the middle, and a rerun reads what is left.
        """
        done = packed_ids(self.done) if len(self.done) else None
        return self.__dict__ | {"units": packed(self.units), "schema": self.units.schema, "done": done}

    def __setstate__(self, state: dict[str, Any]) -> None:
        units = unpacked(state["units"], state.pop("schema"))
        done = NONE if state["done"] is None else unpacked_ids(state["done"])
        self.__dict__.update(state | {"units": units, "done": done})

    @property
    def bytes(self) -> int:
        """Encoded audio, listed or estimated."""
        return pc.sum(self.units["@bytes"]).as_py() or 0


def packed_ids(ids: pa.ChunkedArray) -> bytes:
    """large_string, `packed`."""
    return packed(pa.table({"id": ids}))


def unpacked_ids(data: bytes) -> pa.ChunkedArray:
    """What `packed_ids` gave."""
    return unpacked(data, pa.schema([("id", NONE.type)]))["id"]


def has_split(units: pa.Table) -> bool:
    """Whether each channel of some of these files is a recording."""
    channel = units["@channel"]
    return not is_empty(channel) and bool(pc.any(pc.equal(channel, EACH)).as_py())


@dataclass(frozen=True)
class Range:
    """Some chunks of a recording that several tasks share: `first_chunk` to `last_chunk`, that one too."""

    first_chunk: int
    last_chunk: int
    samples: int  # per channel, of the whole recording when it was planned


@dataclass(frozen=True)
class InputRecording:
    """One recording, not opened yet."""

    id: str
    source: str  # redacted location; "shard.tar::member" or "x.parquet::row 17" in a container
    name: str  # file name, for the suffix
    carried: dict[str, pa.Scalar]  # exactly ReadTask.carried, in its order
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """A seekable binary file, until the context ends. Raises RecordingError. May be called again. Neighbours that have
    one and the same `open` are views of one file."""
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None  # as "@channel"
    range: Range | None = None  # None: all of it
    stamp: Stamp = UNKNOWN  # of the file at `source`, where the plan knows it


def carried_names(names: list[str]) -> list[str]:
    """The names under which columns travel: "input_" before one that the output has itself, and before a second one."""
    taken = set(RESERVED)
    result = []
    for name in names:
        while name in taken:
            name = f"input_{name}"
        taken.add(name)
        result.append(name)
    return result


@dataclass(frozen=True)
class Container:
    """A file that holds recordings, what is to be read of it, and how they are named."""

    id: str
    location: str
    row_groups: list[int] | None  # of a Parquet shard; None: all
    prefixed: bool  # recordings' ids start with the container's own and "/"
    column: str | None
    carried: pa.Schema
    access: Access
    stamp: Stamp
    channel: int | None = None  # of its recordings: as "@channel"

    @property
    def source(self) -> str:
        """The location without credentials."""
        return clean_id(redact(self.location))

    @property
    def failure_id(self) -> str:
        """The id under which it fails as a whole: its own; of later row groups with the number of the first."""
        first = (self.row_groups or [0])[0]
        return f"{self.id}#row-group-{first}" if first else self.id

    def nulls(self) -> dict[str, pa.Scalar]:
        """The carried columns of a recording of which none is known."""
        return {column.name: pa.scalar(None, column.type) for column in self.carried}


def containers(task: ReadTask) -> Iterator[Container]:
    """The containers of a task, in order; the row groups of one go together."""
    for (id, location), group in groupby(task.units.to_pylist(), key=lambda unit: (unit["@id"], unit["@location"])):
        units = list(group)
        groups = [unit["@row_group"] for unit in units]
        yield Container(
            id,
            location,
            None if None in groups else groups,
            task.prefixed,
            task.column,
            task.carried,
            task.access,
            Stamp(units[0]["@size"], units[0]["@version"]),
            task.channel,
        )
