"""What planning hands to reading: a `ReadTask` of Arrow rows, and what reading hands on: an `Item` per recording."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from pipeline.persist import Access
from pipeline.schema import CHUNK_SCHEMA, CODES_SCHEMA, FAILURES_SCHEMA

Kind = Literal["files", "tar", "parquet"]

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc"),
    *(".m4a", ".mp4", ".aac", ".webm"),
)
"""What is taken for audio in a folder, a glob or a tar shard; a file named in a manifest or by itself is tried."""

UNIT_SCHEMA = pa.schema(
    [
        ("@id", pa.string()),  # of the recording, or of the container
        ("@location", pa.string()),  # where to open it, credentials and all: never shown, see files.redact
        ("@start_s", pa.float64()),  # null: from the beginning
        ("@end_s", pa.float64()),  # null: to the end
        ("@row_group", pa.int32()),  # of a Parquet shard; null: all of them
        ("@bytes", pa.int64()),  # listed, or estimated
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


@dataclass(frozen=True)
class ReadTask:
    """What one worker reads in one go. Small and picklable."""

    kind: Kind
    units: pa.Table  # UNIT_SCHEMA; for files, the carried columns and, where recordings are shared, RANGE_SCHEMA
    carried: pa.Schema  # of every item, whatever its source has
    done: pa.Array  # string: committed ids of these containers; files that are committed are no units
    prefixed: bool  # ids of a container's recordings start with the container's own id and "/"
    column: str | None  # the audio column of Parquet shards, where the user named it
    access: Access  # how they are opened

    def __getstate__(self) -> dict[str, Any]:
        """On the driver `units` and `done` are views of one large table, and pickling a view sends all of it: copy."""
        return self.__dict__ | {"units": _copied(self.units), "done": _copied(self.done)}

    @property
    def bytes(self) -> int:
        """Encoded audio, listed or estimated."""
        return sum(self.units["@bytes"].to_pylist())


def _copied(view: Any) -> Any:
    return view.take(pa.array(range(len(view)), pa.int64()))


@dataclass(frozen=True)
class Range:
    """Some chunks of a recording that several tasks share: `first_chunk` to `last_chunk`, that one too."""

    first_chunk: int
    last_chunk: int
    samples: int  # per channel, of the whole recording when it was planned


@dataclass(frozen=True)
class Item:
    """One recording, not opened yet."""

    id: str
    source: str  # redacted location; "shard.tar::member" or "x.parquet::row 17" in a container
    name: str  # file name, for the suffix
    carried: dict[str, pa.Scalar]  # exactly ReadTask.carried, in its order
    open: Callable[[], AbstractContextManager[str | BinaryIO]]
    """A local path, or a seekable binary file, until the context ends. Raises RecordingError. May be called again."""
    start_s: float = 0.0
    end_s: float | None = None
    range: Range | None = None  # None: all of it


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
