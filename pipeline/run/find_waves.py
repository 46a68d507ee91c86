"""The id of a recording -> its reconstruction: a path, or an open member of a shard. Needs neither Ray nor PyTorch."""

import io
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSystem, FileType

from pipeline.errors import OutputError
from pipeline.run.layout import WAVES, WaveKind, sample_key, shard_path, shards, wave_kind, wave_path
from pipeline.run.run_json import read_run_file
from pipeline.run.shard import Entry, read_index
from pipeline.run.shards import indexes, is_part
from pipeline.storage.filesystem import BUFFER_BYTES
from pipeline.storage.opening import Window
from pipeline.storage.text import id_hashes
from pipeline.storage.translate import errors_as

Wave: TypeAlias = str | io.BufferedReader
"""A path, or an open file whose `name` is "<path of its shard>::<member>"."""
KEPT_INDEXES = 16
"""Shards whose indexes stay in memory: recordings that are read one after the other share a few shards."""


class Waves:
    """Where the reconstructions of a run lie; reads its run.json when first asked. Pickles without what it has read."""

    def __init__(self, fs: FileSystem, run: str) -> None:
        self.fs, self.run, self.folder = fs, run, f"{run}/{WAVES}"
        self._kind: WaveKind | None = None
        self._read: dict[str, dict[str, Entry]] = {}  # of the shards that were read last
        self._others: _Others | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Waves, (self.fs, self.run)

    @property
    def kind(self) -> WaveKind:
        """How run.json says that they are kept. Raises OutputError if it is damaged."""
        if self._kind is None:
            self._kind = wave_kind((read_run_file(self.fs, self.run) or {}).get("settings", {}))
        return self._kind

    def find(self, id_: str, part: str) -> Wave | None:
        """The reconstruction of a recording in the part of codes `part`; None if there is none.

        In shards: a request or two for the index of the part's shard, if it was not read just before, and one for the
        wave, or for every 4 MiB of a longer one while it is read. Raises OutputError if a shard or run.json is damaged.
        """
        if self.kind.layout == "files":
            path = wave_path(self.folder, id_, self.kind.format)
            return path if self.fs.get_file_info(path).type == FileType.File else None
        path = shard_path(self.folder, part)
        entry = self._index(path).get(id_)
        if entry is None:
            self._others = self._others or _Others(self.fs, self.folder)
            path = self._others.shard_of(id_) or path
            entry = self._index(path).get(id_)
        return None if entry is None else self._open(path, entry)

    def open(self, id_: str, part: str) -> BinaryIO | None:
        """What `find` finds, as an open file, also where it is in no file system of this machine."""
        found = self.find(id_, part)
        if isinstance(found, str):
            with errors_as(found, OutputError):
                return cast(BinaryIO, self.fs.open_input_file(found))
        return cast(BinaryIO | None, found)

    def _index(self, path: str) -> dict[str, Entry]:
        if path not in self._read:
            if len(self._read) >= KEPT_INDEXES:
                self._read.pop(next(iter(self._read)))
            self._read[path] = {entry.id: entry for entry in read_index(self.fs, path)}
        return self._read[path]

    def _open(self, path: str, entry: Entry) -> io.BufferedReader:
        name = f"{path}::{sample_key(entry.id)}.{self.kind.format}"
        offset = entry.offset
        with errors_as(path, OutputError):
            file: Any = self.fs.open_input_file(path)
            if entry.size <= BUFFER_BYTES:  # at once: libsndfile jumps to and fro
                with file:
                    file, offset = io.BytesIO(file.read_at(entry.size, entry.offset)), 0
        return io.BufferedReader(Member(name, file, offset, entry.size), max(1, min(entry.size, BUFFER_BYTES)))


class Member(Window):
    """A member of a shard, as a seekable file of its own."""

    def __init__(self, name: str, file: Any, offset: int, size: int) -> None:
        super().__init__(file, offset, size)
        self.name = name


class _Others:
    """Which of the shards that belong to no part holds which recording; 20 bytes of memory each."""

    def __init__(self, fs: FileSystem, folder: str) -> None:
        self.paths = [path for path in shards(fs, folder) if not is_part(path)]
        hashes = [id_hashes(pa.array([entry.id for entry in found])) for _, found in indexes(fs, self.paths)]
        numbers = np.repeat(np.arange(len(hashes), dtype=np.int32), [len(some) for some in hashes])
        every = np.concatenate([np.empty(0, "S16"), *hashes])
        order = np.argsort(every, kind="stable")
        self.hashes, self.numbers = every[order], numbers[order]

    def shard_of(self, id_: str) -> str | None:
        """The path of the shard that holds this recording, if any does."""
        wanted = id_hashes(pa.array([id_]))[0]
        at = int(np.searchsorted(self.hashes, wanted))
        found = at < len(self.hashes) and self.hashes[at] == wanted
        return self.paths[self.numbers[at]] if found else None
