"""The keys of all rows of a run, each part read once: what is committed, settled and counted comes from them."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem

from pipeline.run.layout import CODES, PARTS, part_infos
from pipeline.run.part_keys import PartKeys, coded_keys, failed_keys
from pipeline.storage.at_once import at_once, on_store

Stamp = tuple[str, int, int]
"""Path, bytes and time of the last change: a part of failures may be written again under its name."""


class Keys:
    """Of every part its `PartKeys`, as of the last `refresh`, the first of which is made when they are asked for: about
    24 bytes a row, and its id. Listing and reading the parts of a large run takes minutes: pass them on."""

    def __init__(self, fs: FileSystem, run: str) -> None:
        self.fs, self.run = fs, run
        self._parts: dict[str, dict[Stamp, PartKeys]] = {}

    def refresh(self) -> "Keys":
        """Read the parts that are new, several at a time, and forget those that are gone.

        Raises OutputError for a part that is none.
        """
        for _ in self.reading():
            pass
        return self

    def reading(self) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """`refresh`, step by step: the rows of each part that is read, id and FINGERPRINT_SCHEMA among their columns,
        and the hashes of their ids."""
        listed = on_store(self.fs, functools.partial(part_infos, self.fs, self.run), PARTS)
        for folder, infos in zip(PARTS, listed, strict=True):
            read, before = (coded_keys if folder == CODES else failed_keys), self._parts.get(folder, {})
            there = [(info.path, info.size or 0, info.mtime_ns or 0) for info in infos]
            new = [stamp for stamp in there if stamp not in before]
            found, paths = dict(before), [path for path, _, _ in new]
            for stamp, (rows, keys) in zip(new, at_once(functools.partial(read, self.fs), paths), strict=True):
                found[stamp] = keys
                yield rows, keys.hashes
            self._parts[folder] = {stamp: found[stamp] for stamp in there}

    def parts(self, *folders: str) -> list[PartKeys]:
        """The keys of the parts in `folders`, in order of the folders and of the names of parts."""
        return [keys for folder in folders for keys in self._known()[folder].values()]

    def ids(self, *folders: str) -> pa.ChunkedArray:
        """large_string: the id of every row of those parts."""
        return pa.chunked_array([part.ids for part in self.parts(*folders)], pa.large_string())

    def paths(self, *folders: str) -> list[str]:
        """The paths of those parts."""
        return [stamp[0] for folder in folders for stamp in self._known()[folder]]

    def _known(self) -> dict[str, dict[Stamp, PartKeys]]:
        return self._parts or self.refresh()._parts


def gathered(parts: list[PartKeys], name: str) -> np.ndarray:
    """One of SHORT, of all rows of chunks of several, over all `parts`; or "hash", "part" (its number) and "row"."""
    kinds: dict[str, Any] = {"hash": "S16", "print": "S8", "samples": np.int64}
    some = [np.empty(0, kinds.get(name, np.int32))]
    for number, part in enumerate(parts):
        match name:
            case "hash":
                some.append(part.hashes[part.long])
            case "part":
                some.append(np.full(len(part.long), number, np.int32))
            case "row":
                some.append(part.long)
            case _:
                some.append(part.chunks_of[name])
    return np.concatenate(some)
