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


class RecordingsDataset(IterableDataset):
    """Yields {"id": str, "codes": int64 tensor in `layout`, and the asked-for columns}, in flat memory.

    The parts of the run are dealt out to all workers of all ranks; if there are fewer parts than workers, several
    workers read a part and each keeps its share. Ranks may get different numbers of recordings: where every step needs
    all of them, stop at the shortest, or use torch's `Join`. For a run in an object store, give the DataLoader
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
        """Recordings of all workers and ranks together."""
        return len(self.whole)

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is started afresh (spawn) has no process group: it is told its rank."""
        return {**self.__dict__, "sent_from": place_of_process()}

    def set_epoch(self, epoch: int) -> None:
        """Shuffle in another order; call it on every rank with the same number before each epoch."""
        self.epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = np.random.default_rng([self.seed, int(self.epoch)])
        consumer, consumers = self._consumer()
        pieces = -(-consumers // max(1, len(self.whole.parts)))
        shares = [(part, piece) for part in range(len(self.whole.parts)) for piece in range(pieces)]
        if self.shuffle:
            order.shuffle(shares)
        found = self._shares(shares[consumer::consumers], pieces)
        own = np.random.default_rng([self.seed, int(self.epoch), consumer])
        return _shuffled(found, self.buffer, own) if self.shuffle else found

    def _consumer(self) -> tuple[int, int]:
        """Number of this worker of all, and how many there are. Ranks are next to each other: what is left over where
        parts do not divide evenly goes to one worker of each, not to all workers of the first."""
        worker = get_worker_info()
        place = self.place or (self.sent_from if worker is not None else None) or place_of_process()
        if place is None:
            raise InputError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and there is no RANK: set it, or call"
                " torch_dataset(rank=..., world=...)."
            )
        rank, world = place
        return (rank, world) if worker is None else (worker.id * world + rank, world * worker.num_workers)

    def _shares(self, shares: list[tuple[int, int]], pieces: int) -> Iterator[dict[str, Any]]:
        """Every `pieces`-th recording of each part, from number piece on, of (part, piece)."""
        stream = stream_parts(self.whole.fs, [self.whole.parts[part] for part, _ in shares])
        for number, own in groupby(stream, key=itemgetter(0)):  # parts without rows are left out
            (part, piece), position = shares[number], 0
            for rows in part_recordings(self.whole, part, (rows for _, rows in own)):
                kept = np.flatnonzero((np.arange(len(rows)) + position) % pieces == piece)
                position += len(rows)
                yield from self._items(rows.take(kept) if len(kept) < len(rows) else rows)

    def _items(self, rows: pa.Table) -> Iterator[dict[str, Any]]:
        arrange = layout_of(self.layout)
        codes = rows["codes"].combine_chunks()
        values = plain_rows(rows.select(dict.fromkeys(["id", *self.columns])))
        for row, value in enumerate(values):
            frames = codes[row].values.flatten().to_numpy().reshape(-1, NUM_CODEBOOKS)
            yield {**value, "codes": torch.from_numpy(arrange(frames).astype(np.int64))}


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
