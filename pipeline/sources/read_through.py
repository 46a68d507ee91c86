"""Containers that read tasks came to the end of, and what these held -> a rerun opens none of which all is committed.

Only reading a container tells what it holds. What it told is kept, under a mark: a hash of what decides it. A mark that
is met again, and all of whose ids are committed, needs no reading; where anything is unsure there is no mark, and the
container is read.
"""

import functools
import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.rows import is_empty, kept
from pipeline.sources.task import ReadTask
from pipeline.storage.id_set import hashes_among, id_set
from pipeline.storage.text import id_hashes, redacted
from pipeline.version import __version__

HASHES = pa.list_(pa.binary(16))
ENDED_SCHEMA = pa.schema([("marks", HASHES), ("ids", HASHES)])
"""A row is a read task that came to its end: the marks of its units, and `id_hashes` of all that these held."""
_OF_ROW_GROUP = r"#row-group-\d+$"
"""The end of the id under which a row group fails as a whole."""


def marks(task: ReadTask) -> np.ndarray:
    """Of each unit of `task` a hash of its id, location, size and version, and of how it is read; b"" where its store
    does not tell whether it changed. "S16" [units]. Another version of voxmill may find other recordings, and has other
    marks. Size and time alone would take tar files of one name for each other: their sizes are multiples of 10 kB.
    """
    how = json.dumps([__version__, task.kind, task.prefixed, task.column, task.channel, task.vad])
    fields = [task.units[name].cast(pa.string()) for name in ("@id", "@row_group", "@size", "@version")]
    where = redacted(task.units["@location"])
    text = pc.binary_join_element_wise(how, where, *fields, "\0", null_handling="replace", null_replacement="")
    told = pc.and_(pc.is_valid(task.units["@size"]), pc.is_valid(task.units["@version"])).to_numpy()
    return np.where(told, id_hashes(text), b"")


def ended(tasks: Sequence[ReadTask], held: Iterable[tuple[int, pa.Array]]) -> pa.Table:
    """ENDED_SCHEMA rows of those of `tasks` whose readers came to their end: `held` has the number of each, and the ids
    that it came across.

    Left out are tasks with a limit, and those with a container that broke: its next reading may get further.
    """
    found = [row for number, ids in held if (row := _ended(tasks[number], ids)) is not None]
    return pa.table([_column(lists) for lists in zip(*found, strict=True)] if found else [[], []], schema=ENDED_SCHEMA)


def _ended(task: ReadTask, ids: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """The marks of a task, and the hashes of all that its containers hold: what its reader came across, and what it
    passed over because it was committed."""
    if task.kind == "files" or task.limit is not None:
        return None
    if len(task.done) and not is_empty(task.units["@row_group"]):
        return None  # `done` has what is committed of all row groups of its containers, in each of their tasks again
    own, every = marks(task), pa.chunked_array([ids.cast(pa.large_string()), *task.done.chunks], pa.large_string())
    containers = pc.replace_substring_regex(every, _OF_ROW_GROUP, "")
    broken = pc.any(pc.is_in(containers, value_set=task.units["@id"].cast(pa.large_string()))).as_py()
    return None if broken or (own == b"").any() else (own, np.unique(id_hashes(every)))


class ReadThrough:
    """What earlier attempts read through, and what of it is committed."""

    def __init__(self, tasks: pa.Table, lasting: pa.ChunkedArray) -> None:
        """`tasks`: ENDED_SCHEMA. `lasting`: the ids that are committed, and not as failures that may pass."""
        self.marks, self.ids = (_Lists(tasks[name]) for name in ENDED_SCHEMA.names)
        self.lasting = lasting

    def left(self, task: ReadTask) -> pa.Table:
        """The units of `task` that are to be read: not those of which everything is committed that any reader found in
        them. Two readings may have found different things."""
        own = marks(task)
        if not hashes_among(own, np.unique(self.marks.values)).any():
            return task.units
        return kept(task.units, ~hashes_among(own, self._done))

    @functools.cached_property
    def _done(self) -> np.ndarray:
        """The marks, sorted, of units of which everything is committed."""
        whole = self.ids.within(id_set(self.lasting))
        return np.setdiff1d(self.marks.values_of(whole), self.marks.values_of(~whole))


class _Lists:
    """A column of lists of hashes."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        lists = column.combine_chunks()
        self.count = len(lists)
        self.values = _hashes(lists.flatten())
        self.owners = np.repeat(np.arange(self.count), pc.list_value_length(lists).to_numpy(zero_copy_only=False))

    def within(self, known: np.ndarray) -> np.ndarray:
        """bool [lists]: which hold no hash that is not in the set `known`."""
        return np.bincount(self.owners[~hashes_among(self.values, known)], minlength=self.count) == 0

    def values_of(self, wanted: np.ndarray) -> np.ndarray:
        """The hashes of the lists that `wanted` (bool [lists]) marks."""
        return self.values[wanted[self.owners]]


def _column(lists: Sequence[np.ndarray]) -> pa.ListArray:
    """Lists of hashes ("S16") as Arrow has them; NumPy's own way drops zeros at the end of a hash."""
    ends = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    values = np.concatenate([np.empty(0, "S16"), *lists])
    hashes = pa.Array.from_buffers(pa.binary(16), len(values), [None, pa.py_buffer(values)])
    return pa.ListArray.from_arrays(pa.array(ends), hashes)


def _hashes(values: pa.FixedSizeBinaryArray) -> np.ndarray:
    """The reverse: "S16" [n]."""
    end = values.offset + len(values)
    return np.frombuffer(values.buffers()[1], "S16", end)[values.offset :] if len(values) else np.empty(0, "S16")
