"""The rows of a run's parts: a key of 16 bytes each. Their ids are read again, where a line of a problem needs them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from pipeline.errors import InputError
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as
from pipeline.verify.examine import keys_of


@dataclass(frozen=True)
class Rows:
    """The rows of some parts, numbered in the order of the parts and of their rows."""

    fs: FileSystem
    paths: list[str]
    ends: np.ndarray  # int64 [parts]: rows up to the end of each
    keys: np.ndarray  # "S16" [rows]: `examine.keys_of`
    in_file: pa.Table  # `examine.IN_FILE_SCHEMA`

    def __len__(self) -> int:
        return len(self.keys)

    def part_of(self, rows: np.ndarray) -> np.ndarray:
        """int64 [n]: the numbers of the parts that hold `rows`."""
        return np.searchsorted(self.ends, rows, side="right")

    def by_part(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """`values` [rows], those of each part by its path."""
        return dict(zip(self.paths, np.split(values, self.ends[:-1]), strict=True)) if self.paths else {}

    def ids(self, rows: np.ndarray) -> Iterator[str | None]:
        """The ids of `rows`, ascending: each part that holds some is read once, when it is their turn.

        Raises InputError for a part that is not what it was.
        """
        if not len(rows):
            return
        numbers, firsts = np.unique(self.part_of(rows), return_index=True)
        for number, some in zip(numbers.tolist(), np.split(rows, firsts[1:]), strict=True):
            yield from self._ids(number, some).to_pylist()

    def all_ids(self) -> pa.ChunkedArray:
        """The ids of all rows: their text, 40 bytes each or more."""
        every = np.split(np.arange(len(self)), self.ends[:-1])
        some = [self._ids(number, rows) for number, rows in enumerate(every) if len(rows)]
        return pa.chunked_array([chunk for one in some for chunk in one.chunks], pa.string()).cast(pa.large_string())

    def _ids(self, number: int, rows: np.ndarray) -> pa.ChunkedArray:
        path, begin = self.paths[number], self.ends[number - 1] if number else 0
        with errors_as(path, InputError), pq.ParquetFile(path, filesystem=self.fs) as file:
            ids = file.read(["id"])["id"]
        same = len(ids) == self.ends[number] - begin
        found = ids.take(pa.array(rows - begin)) if same else ids
        if not same or not np.array_equal(keys_of(found), self.keys[rows]):
            raise InputError(
                f"{redact(path)} changed while it was checked. Check again when nothing writes to the run."
            )
        return found
