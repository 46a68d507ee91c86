"""A run -> a PyTorch IterableDataset of its recordings, each in one worker of one rank."""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import IterableDataset, get_worker_info

from actors.contract import NUM_CODEBOOKS
from pipeline.errors import InputError
from pipeline.run.parts import stream_parts
from pipeline.run.plain import plain_rows
from pipeline.run.token_layouts import Layout, layout_of
from pipeline.run.whole import Whole, part_recordings

Place = tuple[int, int]
"""(rank, ranks)"""


class RecordingsDataset(IterableDataset[dict[str, Any]]):
    """Yields {"id": str, "codes": int64 tensor in `layout`, and the asked-for columns}, in flat memory but for `buffer`
    recordings.

    All ranks get as many recordings, or one more; a rank's workers share them in the same way. Each reads the parts, in
    the order of the epoch, that hold its own. For a run in an object store, give the DataLoader
    multiprocessing_context="spawn": pyarrow does not promise that its clients survive a fork. `place` None: that of the
    process.
    """

    def __init__(
        self,
        whole: Whole,
        layout: Layout,
        columns: str | Sequence[str],
        shuffle: bool,
        seed: int,
        buffer: int,
        place: Place | None,
    ) -> None:
        columns = [columns] if isinstance(columns, str) else list(columns)
        unknown = [name for name in columns if name not in whole.schema.names]
        if unknown and not whole.parts:
            raise InputError(f"The run has no parts, so it has no column {', '.join(map(repr, unknown))} yet.")
        if unknown:
            raise InputError(
                f"The run has no column {', '.join(map(repr, unknown))}. It has {', '.join(whole.schema.names)}."
            )
        if shuffle and buffer < 1:
            raise InputError(f"buffer is {buffer!r}; it can be a whole number of recordings from 1.")
        layout_of(layout)  # an unknown one is refused here, not in a worker
        self.whole, self.layout, self.columns = whole, layout, columns
        self.shuffle, self.seed, self.buffer = shuffle, seed, buffer
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that live on see it change
        if place is not None and not 0 <= place[0] < place[1]:
            raise InputError(f"rank is {place[0]!r} of {place[1]!r}; it can be a whole number from 0 to ranks - 1.")
        self.place = place
        self.sent_from: Place | None = None

    def __len__(self) -> int:
        """Recordings of this rank, its workers together: what a DataLoader takes it for."""
        begin, end = self._of_rank()
        return end - begin

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is started afresh (spawn) has no process group: it is told its rank."""
        return {**self.__dict__, "sent_from": place_of_process()}

    def set_epoch(self, epoch: int) -> None:
        """Shuffle in another order; call it on every rank with the same number before each epoch."""
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = np.random.default_rng([self.seed, int(self.epoch)])
        parts = np.arange(len(self.whole.parts))
        if self.shuffle:
            order.shuffle(parts)
        begin, end = self._of_rank()
        if (worker := get_worker_info()) is not None:
            begin, end = _share(begin, end, worker.id, worker.num_workers)
        found = self._between(parts, begin, end)
        own = np.random.default_rng([self.seed, int(self.epoch), begin])
        return map(self._arranged, _shuffled(found, self.buffer, own) if self.shuffle else found)

    def _of_rank(self) -> tuple[int, int]:
        """The first recording of this rank, and that behind its last."""
        place = self.place or (self.sent_from if get_worker_info() is not None else None) or place_of_process()
        if place is None:
            raise InputError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and there is no RANK: set it, or call"
                " torch_dataset(rank=..., world=...)."
            )
        return _share(0, len(self.whole), *place)

    def _between(self, parts: np.ndarray, begin: int, end: int) -> Iterator[dict[str, Any]]:
        """Recordings number `begin` to `end` of these parts, one part after the other."""
        ends = np.cumsum(self.whole.counts[parts])
        held = np.flatnonzero((ends > begin) & (ends - self.whole.counts[parts] < end))
        stream = stream_parts(self.whole.fs, [self.whole.parts[part] for part in parts[held]])
        for number, own in groupby(stream, key=itemgetter(0)):  # parts without rows are left out
            part = int(parts[held[number]])
            position = int(ends[held[number]] - self.whole.counts[part])
            for rows in part_recordings(self.whole, part, (rows for _, rows in own)):
                first, last = max(0, begin - position), min(len(rows), end - position)
                if first < last:
                    yield from self._items(rows.slice(first, last - first))
                position += len(rows)
                if position >= end:
                    return

    def _items(self, rows: pa.Table) -> Iterator[dict[str, Any]]:
        """With codes int16 [F, 16]: a buffer of them is a quarter of one of int64."""
        codes = rows["codes"].combine_chunks()
        values = plain_rows(rows.select(dict.fromkeys(["id", *self.columns])))
        for row, value in enumerate(values):
            frames = codes[row].values.flatten().to_numpy().reshape(-1, NUM_CODEBOOKS)
            yield {**value, "codes": frames.copy()}  # a view would keep all rows

    def _arranged(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "codes": torch.from_numpy(layout_of(self.layout)(item["codes"]).astype(np.int64))}


def _share(begin: int, end: int, number: int, shares: int) -> tuple[int, int]:
    """From `begin` to `end`, the bounds of one of so many shares that differ by one at most."""
    return begin + (end - begin) * number // shares, begin + (end - begin) * (number + 1) // shares


def place_of_process() -> Place | None:
    """That of torch.distributed if it is set up, else RANK and WORLD_SIZE, as torchrun sets them, else (0, 1); None
    where there is a WORLD_SIZE alone, as in Lightning before it sets a process group up."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if "RANK" in os.environ else None


def _shuffled(items: Iterator[dict[str, Any]], size: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """A buffer of `size` items, of which a random one makes room for the next."""
    buffer: list[dict[str, Any]] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        place = int(random.integers(size))
        yield buffer[place]
        buffer[place] = item
    random.shuffle(buffer)
    yield from buffer
