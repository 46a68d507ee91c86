"""The keys of a run -> parts in which every recording is whole and once, or failed once."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.alike import first_of, shared
from pipeline.run.committed import Long
from pipeline.run.keep_rows import keep_rows
from pipeline.run.keys import Keys
from pipeline.run.layout import CODES, FAILURES, SKIPPED
from pipeline.run.part_keys import PartKeys, prints
from pipeline.run.parts import read_part
from pipeline.run.whole_files import files_done
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, FINGERPRINT_SCHEMA
from pipeline.storage.at_once import on_store
from pipeline.storage.text import id_hashes

NOT_CODED = (FAILURES, SKIPPED)
"""The folders of parts without codes, which are settled together."""
READ_FROM = [name for name in FINGERPRINT_SCHEMA.names if name != "stretches"]
"""Columns that say what a row was read from; how much speech it holds is another matter."""


@dataclass(frozen=True)
class Settled:
    """What `settle` did."""

    parts: dict[str, str | None]  # the sha256 of every part of codes that is new, None for one that is gone
    mixed: bool  # whether recordings lost all they had, because it had different fingerprints


def settle(keys: Keys) -> Settled:
    """Every recording is in codes, whole and once, or in failures or skipped, once: rewrite the parts where it is not.

    A replayed reader or a late writer may commit a chunk twice, or a failure beside codes. Of equal chunks the first
    stays. A recording whose chunks are all there keeps its codes and loses its failures; one that failed and lacks
    chunks loses its codes and keeps one failure: the first that no other attempt would cure (`transient.may_pass`),
    else the first. A skip counts as a failure here, after those. Rows of different fingerprints are not chosen from,
    and never joined, for nothing here tells which of them the inputs hold: the recording loses all, and is missing
    then. A file all of whose channels or stretches of speech are there has no failure of its own: a reader before the
    last one may not have reached it.
    """
    keys.refresh()
    files = _whole_files(keys)
    coded, failed = _in_question(keys, files)
    chunk, chunks = coded.of("chunk"), coded.of("chunks")
    first = first_of(coded.hashes, chunk)
    ids, rows, counts = np.unique(coded.hashes[first], return_index=True, return_counts=True)
    mixed = np.union1d(_mixed(coded.hashes, coded.of("print")), _of_two_inputs(keys, coded, failed))
    whole = np.setdiff1d(ids[counts == chunks[first][rows]], mixed)
    failing = np.isin(failed.hashes, np.concatenate([whole, files, mixed]), invert=True)
    lost = np.isin(coded.hashes, np.concatenate([failed.hashes[failing], mixed]))
    kept = np.zeros(len(lost), bool)
    kept[first] = True
    changed = keep_keyed(keys, CODES, coded.masks(kept & ~lost))
    kept = np.zeros(len(failing), bool)
    kept[first_of(failed.hashes, least=failed.of("passing"))] = True
    others = keep_keyed(keys, FAILURES, failed.masks(kept & failing))
    if changed or others:
        keys.refresh()
    return Settled(changed, bool(len(mixed)))


def keep_keyed(keys: Keys, folder: str, masks: dict[int, np.ndarray]) -> dict[str, str | None]:
    """`keep_rows` of the parts of codes, or of those of failures and skipped ones, by their numbers in `keys`."""
    schema, folders = (CODES_SCHEMA, (CODES,)) if folder == CODES else (FAILURES_SCHEMA, NOT_CODED)
    paths = keys.paths(*folders)
    kept = {paths[number]: mask for number, mask in masks.items() if not mask.all()}
    return keep_rows(keys.fs, kept, lambda path: read_part(keys.fs, path, schema))


def _whole_files(keys: Keys) -> np.ndarray:
    """The hashes of the files of which all channels or stretches are there; none if nothing failed."""
    coded, failed = keys.parts(CODES), keys.parts(*NOT_CODED)
    if not any(map(len, failed)):
        return np.empty(0, "S16")
    return id_hashes(files_done(coded, failed, Long(coded).lacking(coded)))


class _Some(NamedTuple):
    """Some rows of parts, in their order."""

    parts: list[PartKeys]
    rows: list[np.ndarray]  # int64: of each part, the numbers of its rows

    @property
    def hashes(self) -> np.ndarray:
        return self._all([part.hashes[rows] for part, rows in self._pairs()], "S16")

    def of(self, name: str) -> np.ndarray:
        """One of part_keys.SHORT, or "passing"."""
        found = [(part.passing if name == "passing" else part.of(name))[rows] for part, rows in self._pairs()]
        return self._all(found, {"print": "S8", "passing": bool}.get(name, np.int32))

    def masks(self, kept: np.ndarray) -> dict[int, np.ndarray]:
        """bool [rows of the part] by its number: all but those that are not `kept`, of parts that have some here."""
        found, begin = {}, 0
        for number, (part, rows) in enumerate(self._pairs()):
            if len(rows):
                found[number] = np.ones(len(part), bool)
                found[number][rows] = kept[begin : begin + len(rows)]
                begin += len(rows)
        return found

    def _pairs(self) -> list[tuple[PartKeys, np.ndarray]]:
        return list(zip(self.parts, self.rows, strict=True))

    @staticmethod
    def _all(some: list[np.ndarray], kind: Any) -> np.ndarray:
        return np.concatenate([np.empty(0, kind), *some])


def _in_question(keys: Keys, files: np.ndarray) -> tuple[_Some, _Some]:
    """The rows of codes, and of failures, that may have to go: those whose id others have, and failures of `files`."""
    coded, failed = keys.parts(CODES), keys.parts(*NOT_CODED)
    parts = [*coded, *failed]
    numbers, begin, rows = shared([part.hashes for part in parts]), 0, []
    for index, part in enumerate(parts):
        first, last = np.searchsorted(numbers, [begin, begin + len(part)])
        found = numbers[first:last] - begin
        if index >= len(coded) and len(files):
            found = np.union1d(found, np.flatnonzero(np.isin(part.hashes, files)))
        rows.append(found)
        begin += len(part)
    return _Some(coded, rows[: len(coded)]), _Some(failed, rows[len(coded) :])


def _mixed(hashes: np.ndarray, prints: np.ndarray) -> np.ndarray:
    """Those of `hashes` that have several prints."""
    pairs = hashes[first_of(hashes, prints)]
    return pairs[np.isin(np.arange(len(pairs)), first_of(pairs), invert=True)]


def _of_two_inputs(keys: Keys, coded: _Some, failed: _Some) -> np.ndarray:
    """The hashes of recordings whose rows were read from different inputs, as far as they tell.

    Keys say it of chunks of several; of others, which are as many as recordings, the few in question are read.
    """
    asked = (coded.of("chunks") == 1) | np.isin(coded.hashes, failed.hashes)
    found = [_read_from(keys, (CODES,), coded, asked)]
    found.append(_read_from(keys, NOT_CODED, failed, np.ones(len(failed.hashes), bool)))
    hashes, prints = (np.concatenate(some) for some in zip(*found, strict=True))
    return _mixed(hashes, prints)


def _read_from(keys: Keys, folders: tuple[str, ...], some: _Some, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of those of the rows that are `asked`, and prints of what each was read from; without those that name
    no version of it, as of recordings that nobody came to read."""

    def read(one: tuple[str, np.ndarray]) -> np.ndarray:
        rows = read_part(keys.fs, one[0], schema, READ_FROM).take(pa.array(one[1]))
        told = pc.or_(pc.is_valid(rows["source_size"]), pc.is_valid(rows["source_version"]))
        return np.where(told.to_numpy(), prints(rows, READ_FROM), b"")

    schema = CODES_SCHEMA if folders == (CODES,) else FAILURES_SCHEMA
    ends = np.cumsum([len(rows) for rows in some.rows])
    wanted = [rows[mask] for rows, mask in zip(some.rows, np.split(asked, ends[:-1]), strict=True)] if len(ends) else []
    pairs = [(path, rows) for path, rows in zip(keys.paths(*folders), wanted, strict=True) if len(rows)]
    found = np.concatenate([np.empty(0, "S8"), *on_store(keys.fs, read, pairs)])
    return some.hashes[asked][found != b""], found[found != b""]
