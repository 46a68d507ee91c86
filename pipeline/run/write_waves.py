"""Decoded waves -> files, or shards; the chunks of long recordings wait as pieces until all are there."""

import functools
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from pipeline.audio.wave_file import wave_bytes
from pipeline.run.layout import FILES, PIECES, WaveKind, long_shard, pieces_path, wave_path
from pipeline.run.shard import write_shard
from pipeline.run.shards import not_in_shards
from pipeline.storage.at_once import each_on_store
from pipeline.storage.atomic import Check, write_whole
from pipeline.storage.filesystem import infos, read_blocks

PIECES_AT_ONCE = 4
"""That are written to a store: 14 MB each, by default."""


def write_waves(
    rows: pa.Table, fs: FileSystem, folder: str, check: Check | None = None, format: str = FILES.format
) -> pa.Table:
    """Write column "wave" (large_list<int16>, null for failures) as files and drop it.

    A recording of one chunk becomes `folder/<id>.<format>`; a chunk of a longer one waits as raw PCM in
    `folder/.pieces/`. `check` (`Lock.check`) is called before each file appears.
    """

    def write(one: tuple[str, np.ndarray]) -> None:
        id_, pcm = one
        content = functools.partial(_write_wave, format=format, num_samples=len(pcm), blocks=[pcm])
        write_whole(fs, wave_path(folder, id_, format), content, check)

    each_on_store(fs, write, _short(rows))
    _write_pieces(rows, fs, folder, check)
    return rows.drop_columns(["wave"])


def write_waves_to_shard(
    rows: pa.Table, fs: FileSystem, path: str, format: str, check: Check | None = None
) -> pa.Table:
    """As `write_waves`, but all recordings of one chunk go to the shard `path`; there is none if no row is such a one.

    Of rows of one recording, which a reader that was started again may send, the first is written.
    """
    short: dict[str, np.ndarray] = {}
    for id_, pcm in _short(rows):
        short.setdefault(id_, pcm)
    waves = [(id_, len(pcm), [pcm]) for id_, pcm in short.items()]
    if waves:
        write_whole(fs, path, lambda file: write_shard(file, waves, format), check)
    _write_pieces(rows, fs, path.rpartition("/")[0], check)
    return rows.drop_columns(["wave"])


def _short(rows: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Id and int16 [T] of the recordings of one chunk that have a wave."""
    waves = rows["wave"].combine_chunks()
    for index, (id_, chunks) in enumerate(zip(*(rows[c].to_pylist() for c in ("id", "chunks")), strict=True)):
        if chunks == 1 and waves[index].is_valid:
            yield id_, waves[index].values.to_numpy()


def _write_pieces(rows: pa.Table, fs: FileSystem, folder: str, check: Check | None) -> None:
    waves = rows["wave"].combine_chunks()

    def write(one: tuple[int, str, int]) -> None:
        index, id_, chunk = one
        piece = waves[index].values.to_numpy().tobytes()
        write_whole(fs, f"{pieces_path(folder, id_)}/{chunk:06d}.pcm", lambda file: file.write(piece), check)

    columns = zip(*(rows[c].to_pylist() for c in ("id", "chunk", "chunks")), strict=True)
    long = ((index, id_, chunk) for index, (id_, chunk, chunks) in enumerate(columns) if chunks != 1)
    each_on_store(fs, write, (one for one in long if waves[one[0]].is_valid), PIECES_AT_ONCE)


def join_pieces(fs: FileSystem, folder: str, id_: str, chunks: int, num_samples: int, kind: WaveKind = FILES) -> bool:
    """Join the pieces of a long recording to one contiguous file, or to a shard of its own, and delete them; False
    where no piece is waiting."""
    own = pieces_path(folder, id_)
    paths = [f"{own}/{chunk:06d}.pcm" for chunk in range(chunks)]
    if any(info.type == FileType.NotFound for info in infos(fs, paths)):
        return False

    def pieces() -> Iterator[np.ndarray]:
        return (np.frombuffer(block, np.int16) for path in paths for block in read_blocks(fs, path))

    if kind.layout == "tar":
        wave = [(id_, num_samples, pieces())]
        write_whole(fs, f"{folder}/{long_shard(id_)}", lambda file: write_shard(file, wave, kind.format))
    else:
        write = functools.partial(_write_wave, format=kind.format, num_samples=num_samples, blocks=pieces())
        write_whole(fs, wave_path(folder, id_, kind.format), write)
    fs.delete_dir(own)
    return True


def waiting(fs: FileSystem, folder: str) -> set[str]:
    """The paths below `folder` where pieces wait: as `pieces_path` names them, one of each long recording."""
    return {info.path for info in fs.get_file_info(FileSelector(f"{folder}/{PIECES}", allow_not_found=True))}


def remove_pieces(fs: FileSystem, folder: str, staying: Collection[str] = ()) -> None:
    """Delete what is `waiting`: pieces of recordings that are joined, or that failed. Those at the paths `staying` wait
    on."""
    there, kept = waiting(fs, folder), set(staying)
    gone = sorted(there - kept) if there & kept else [f"{folder}/{PIECES}"]
    for info in fs.get_file_info(gone):
        _remove(fs, info)


def without_wave(fs: FileSystem, folder: str, ids: list[str], kind: WaveKind = FILES) -> list[str]:
    """Those of the recordings `ids` that have no wave below `folder`, which is listed once."""
    if kind.layout == "tar":
        return not_in_shards(fs, folder, ids)
    found = fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    there = {info.path for info in found if info.type == FileType.File}
    return [id_ for id_ in ids if wave_path(folder, id_, kind.format) not in there]


def remove_waves(fs: FileSystem, folder: str, ids: list[str], kind: WaveKind = FILES) -> None:
    """Delete the waves and the waiting pieces of these recordings, as far as they are there; not those in shards."""
    for first in range(0, len(ids), LOOKED_UP_AT_ONCE):
        some = ids[first : first + LOOKED_UP_AT_ONCE]
        paths = [path for id_ in some for path in (wave_path(folder, id_, kind.format), pieces_path(folder, id_))]
        each_on_store(fs, functools.partial(_remove, fs), infos(fs, paths))


LOOKED_UP_AT_ONCE = 1_000


def _remove(fs: FileSystem, info: FileInfo) -> None:
    if info.type == FileType.File:
        fs.delete_file(info.path)
    elif info.type == FileType.Directory:
        fs.delete_dir(info.path)


def _write_wave(file: BinaryIO, format: str, num_samples: int, blocks: Iterable[np.ndarray]) -> None:
    for piece in wave_bytes(format, num_samples, blocks)[1]:
        file.write(piece)
