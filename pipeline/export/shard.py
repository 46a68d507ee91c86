"""What a format is, and what it is given to write one shard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from pipeline.export.records import Columns, Record, records

Create = Callable[[str, Callable[[BinaryIO], object]], None]
"""(path below DIR, a function that fills the file): the file appears whole or not at all. The file can seek."""


@dataclass(frozen=True)
class Shard:
    """Consecutive recordings of a run, in the order of `pipeline.run.whole`."""

    files: list[str]  # what `Format.files` says of it
    recordings: int  # of this shard, before those without text are taken out
    schema: pa.Schema  # of the rows: CODES_SCHEMA, then the carried columns
    tables: Iterator[pa.Table]  # the rows, a few at a time; must be read to the end
    columns: Columns
    reference: str | None  # location of the reference audio that all records share
    create: Create

    def records(self) -> Iterator[Record]:
        """The rows one by one."""
        for rows in self.tables:
            yield from records(rows, self.columns)


@dataclass(frozen=True)
class Finished:
    """All shards are written: what is left to do for a format."""

    names: list[str]  # the last one of `Format.files` of each shard, in order
    sizes: list[int]  # bytes of those files
    recordings: list[int]  # of each shard
    columns: Columns
    read: Callable[[str], BinaryIO]
    create: Create


@dataclass(frozen=True)
class Format:
    """A kind of output."""

    write: Callable[[Shard], None]
    """Creates the files of a shard."""
    files: Callable[[int, int], list[str]]
    """(number of a shard, number of shards) -> these files, below DIR, in the order in which they are created: a shard
    with all of them is whole. What is written before the first of them (a file a recording) need not be named."""
    finish: Callable[[Finished], None] | None = None
    """Creates `result` from all shards."""
    result: str | None = None
    joined: bool = False  # `result` holds all of the shards: they are deleted after it
    needs_text: bool = False  # recordings without text are left out
    shares_reference: bool = False  # records name a reference audio
