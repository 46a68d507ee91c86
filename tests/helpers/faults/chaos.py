"""A run's dataflow in this process, without Ray, with faults at random moments from a seed.

The command is the real one (lock, plan, fingerprints, audit, commit); only `flow.execute` is another: it passes rows
from the read stage to the encode pool and to the parts one after the other, as Ray does when things go wrong. A reader
that dies is done again and as many of its blocks are dropped as were delivered, whatever is in them; what was written
may be written again among other rows; when the driver is killed, writes that were under way may come late. In runs with
shards of waves, each wave shows the codes that it is of.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import pipeline.flow
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS, Engine
from actors.pools.arrow import codes_arrays, waves_array
from actors.pools.encode import EncodeChunks
from actors.pools.isolate import Ledger
from pipeline.errors import LostActors
from pipeline.job import Job
from pipeline.read import read_chunks
from pipeline.run.attempt import Attempt
from pipeline.run.held import Held
from pipeline.run.notes import Notes
from pipeline.run.resume import utc_now
from pipeline.run.write import write_parts, write_parts_and_shards
from pipeline.sources.plan import Plan

AWAY = ".away"
"""The suffix of a file that cannot be reached for the time being."""


class DriverKilled(BaseException):
    """The driver is gone; nothing catches this but the test."""


class ReaderDied(Exception):
    """A read task that Ray does again."""


@dataclass
class Chaos:
    """Probabilities of what may go wrong, and what did."""

    random: np.random.Generator
    files: list[Path] = field(default_factory=list)  # that may go away and come back
    reader_dies: float = 0.0  # after each block
    driver_dies: float = 0.0  # before each write
    gpus_go: float = 0.0  # before each write
    written_again: float = 0.0  # of each write
    late: list[functools.partial[Any]] = field(default_factory=list)  # writes of workers that were given up
    gone: set[str] = field(default_factory=set)  # names of files that were away at some time
    faults: int = 0

    def happens(self, probability: float) -> bool:
        """Whether a fault of this probability happens now."""
        hit = bool(self.random.random() < probability)
        self.faults += hit
        return hit

    def files_go_and_come(self) -> None:
        """Every file that may be away is moved away or back, at random."""
        for path in self.files:
            away, back = path.with_name(path.name + AWAY), self.random.random() < 0.7
            if away.exists() and back:
                away.rename(path)
            elif path.exists() and not back:
                path.rename(away)
                self.gone.add(path.name)

    def forget(self, names: set[str]) -> None:
        """No writer comes late with recordings of these names."""
        self.late = [one for one in self.late if names.isdisjoint(one.args[0]["id"].to_pylist())]

    def all_files_come_back(self) -> None:
        """Nothing is away any more."""
        for path in self.files:
            away = path.with_name(path.name + AWAY)
            if away.exists():
                away.rename(path)


@contextlib.contextmanager
def without_ray(codec: Engine, chaos: Chaos) -> Iterator[None]:
    """Inside, `tokenize` runs in this process."""
    kept = pipeline.flow.session, pipeline.flow.execute, pipeline.flow.ray.cluster_resources
    pipeline.flow.session = lambda settings: contextlib.nullcontext()
    pipeline.flow.execute = lambda *given, **more: execute(codec, chaos, *given[:3])
    pipeline.flow.ray.cluster_resources = lambda: {"CPU": 2.0}
    try:
        yield
    finally:
        pipeline.flow.session, pipeline.flow.execute, pipeline.flow.ray.cluster_resources = kept


def execute(codec: Engine, chaos: Chaos, job: Job, planned: Plan, partial: dict[str, frozenset[int]]) -> Attempt:
    """As `flow.execute`."""
    encode = EncodeChunks(lambda: codec, Ledger())
    attempt, held = Attempt(utc_now()), Held()
    notes = Notes(job.fs, job.run, planned.tasks, job.check_lock)
    waiting: list[pa.Table] = []

    def commit(rows: pa.Table) -> pa.Table:
        if not job.settings.reconstruct:
            return write_parts(rows, job.fs, job.run)
        waves = [None if codes is None else wave_of(codes) for codes in codes_arrays(rows["codes"])]
        samples = rows["num_samples"].to_pylist()
        waves = [None if wave is None else wave[:number] for wave, number in zip(waves, samples, strict=True)]
        rows = rows.append_column("wave", waves_array(waves))
        return write_parts_and_shards(rows, job.fs, job.run, job.waves.format, 1000)

    def write(rows: pa.Table) -> None:
        for written in commit(rows).to_pylist():
            attempt.take(written)

    def flush() -> None:
        while waiting:
            count = int(chaos.random.integers(1, 4))
            rows = pa.concat_tables(waiting[:count])
            for fault, probability in ((DriverKilled, chaos.driver_dies), (LostActors, chaos.gpus_go)):
                if chaos.happens(probability):
                    chaos.late += [functools.partial(commit, rows)] if chaos.random.random() < 0.5 else []
                    raise fault
            write(rows)
            del waiting[:count]
            if chaos.happens(chaos.written_again):
                first = int(chaos.random.integers(len(rows)))
                write(rows.slice(first, int(chaos.random.integers(1, len(rows) - first + 1))))
            if chaos.late and chaos.random.random() < 0.3:
                chaos.late.pop()()

    def read(number: int) -> None:
        task, delivered = planned.tasks[number], 0
        while number not in dict(held.reports):
            ids: dict[str, None] = {}
            try:
                rows = read_chunks(task, job.reading, planned.carried, partial)
                for index, block in enumerate(_blocks(rows, ids)):
                    if index >= delivered:
                        waiting.append(encode(block))
                        delivered += 1
                    if chaos.happens(chaos.reader_dies):
                        chaos.files_go_and_come()
                        raise ReaderDied
                held.add(number, pa.array(ids, pa.string()))
            except ReaderDied:
                pass
            if chaos.random.random() < 0.5:
                flush()
            notes.note(held.since, attempt.parts, now=chaos.random.random() < 0.5)

    try:
        for number in chaos.random.permutation(len(planned.tasks)).tolist():
            read(number)
        flush()
    except LostActors:
        attempt.lost = attempt.unheard = True
    notes.note(held.since, attempt.parts, now=True)
    attempt.held = dict(notes.reports)
    return attempt


def wave_of(codes: np.ndarray) -> np.ndarray:
    """int16 [F * 1920] that shows which codes int16 [F, 16] it is of: every frame is its 16 codes again and again."""
    return np.tile(codes, (1, FRAME_SAMPLES // NUM_CODEBOOKS)).reshape(-1)


BLOCK_SAMPLES = 12_000
"""Of audio in a block, about. Blocks are cut by it, as Ray cuts them by bytes: they depend on what could be read."""


def _blocks(rows: Iterator[pa.Table], ids: dict[str, None]) -> Iterator[pa.Table]:
    block: list[pa.Table] = []
    samples = 0
    for row in rows:
        ids.update(dict.fromkeys(row["id"].to_pylist()))
        block.append(row)
        samples += row["num_samples"][0].as_py() or 0
        if samples >= BLOCK_SAMPLES:
            yield pa.concat_tables(block)
            block, samples = [], 0
    if block:
        yield pa.concat_tables(block)


def leave_what_a_killed_driver_leaves(run: Path, random: np.random.Generator) -> None:
    """Its lock is gone with its process here; a temporary file of a writer may be left."""
    if (run / "codes").is_dir() and random.random() < 0.5:
        (run / "codes" / f".{random.bytes(16).hex()}.part").write_bytes(os.urandom(7))
