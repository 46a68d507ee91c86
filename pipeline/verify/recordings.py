"""The keys of rows of codes, and which rows are odd -> the recordings that are whole, and those that are not."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.alike import first_of, groups, shared

DEFAULTS = {"chunk": 0, "chunks": 1}
"""Of rows that are not odd."""


@dataclass(frozen=True)
class Recordings:
    """What the rows of codes are together; by their numbers."""

    twice: np.ndarray  # int64: the rows whose keys are `shared`
    whole: np.ndarray  # bool [rows]: the first row of a recording that has all its chunks
    incomplete: pa.Table  # of each other recording: row (its first), chunks_min, chunks_max, chunk_count
    samples: np.ndarray  # int64 [rows] where they were given, else [0]: where `whole`, of the recording, at 24 kHz


def recordings(keys: np.ndarray, odd: pa.Table, samples: np.ndarray) -> Recordings:
    """Of the `first_sound` rows. `samples` is changed in place."""
    twice = shared([keys])
    sound = first_sound(keys, odd, twice)
    some = np.union1d(twice, odd["row"].to_numpy())  # all others are recordings of one chunk, and whole
    some = some[sound[some]]
    order, begins = groups(keys[some])
    order = some[order]
    firsts, chunks = order[begins], of_rows(odd, "chunks", order)
    sizes = np.diff(begins, append=len(order))
    least, most = (
        function.reduceat(chunks, begins) if len(begins) else chunks for function in (np.minimum, np.maximum)
    )
    full = (least == most) & (sizes == most)
    whole = sound
    whole[some] = False
    whole[firsts[full]] = True
    if len(samples) and len(begins):
        samples[firsts] = np.add.reduceat(samples[order], begins)
    told = {"row": firsts, "chunks_min": least, "chunks_max": most, "chunk_count": sizes}
    return Recordings(twice, whole, pa.table(told).filter(pa.array(~full)).sort_by("row"), samples)


def first_sound(keys: np.ndarray, odd: pa.Table, twice: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """bool [rows]: the row is `among` (bool [rows]; None: all) those in question, has no fault, and is the first such
    row of its (id, chunk)."""
    mask = np.ones(len(keys), bool) if among is None else among.copy()
    mask[odd["row"].filter(odd["fault"].is_valid()).to_numpy()] = False
    several = twice[mask[twice]]
    mask[several] = False
    mask[several[first_of(keys[several], of_rows(odd, "chunk", several))]] = True
    return mask


def of_rows(odd: pa.Table, name: str, rows: np.ndarray) -> np.ndarray:
    """int32 [n]: "chunk" or "chunks" of `rows`; -1 for null."""
    values = np.full(len(rows), DEFAULTS[name], np.int32)
    known = odd["row"].to_numpy()
    if len(known):
        at = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        there = known[at] == rows
        values[there] = pc.fill_null(odd[name], -1).to_numpy()[at[there]]
    return values


def of_several_versions(keys: np.ndarray, odd: pa.Table) -> np.ndarray:
    """The number of a row of each recording whose chunks have different fingerprints."""
    long = odd.filter(pc.fill_null(pc.greater(odd["chunks"], 1), False)).combine_chunks()
    rows = long["row"].to_numpy()
    if not len(rows):
        return rows
    (column,) = long["print"].chunks
    prints = np.frombuffer(column.buffers()[1], "S8")[column.offset :][: len(column)]
    versions = first_of(keys[rows], prints)
    order, begins = groups(keys[rows[versions]])
    several = np.diff(begins, append=len(order)) > 1
    return np.sort(rows[versions[order[begins[several]]]])
