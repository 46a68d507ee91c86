"""Decoded waves -> WAVs; the chunks of long recordings wait as pieces until all are there."""

import functools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.audio.wav import wave_header
from pipeline.run.layout import PIECES, pieces_path, wave_path
from pipeline.storage.atomic import Check, write_whole


def write_waves(rows: pa.Table, fs: FileSystem, folder: str, before: Check | None = None) -> pa.Table:
    """Write column "wave" (large_list<int16>, null for failures) as WAVs and drop it.

    A recording of one chunk becomes `folder/<id>.wav`; a chunk of a longer one waits as raw PCM in `folder/.pieces/`.
    `before` is called before each file appears: the lock's check.
    """
    waves = rows["wave"].combine_chunks()
    for index, (id_, chunk, chunks) in enumerate(
        zip(*(rows[c].to_pylist() for c in ("id", "chunk", "chunks")), strict=True)
    ):
        if not waves[index].is_valid:
            continue
        pcm = waves[index].values.to_numpy()
        if chunks == 1:
            write = functools.partial(_write_wave, num_samples=len(pcm), blocks=[pcm])
            write_whole(fs, wave_path(folder, id_), write, before)
        else:
            piece = functools.partial(_write_bytes, content=pcm.tobytes())
            write_whole(fs, f"{pieces_path(folder, id_)}/{chunk:06d}.pcm", piece, before)
    return rows.drop_columns(["wave"])


def join_pieces(fs: FileSystem, folder: str, id_: str, chunks: int, num_samples: int) -> bool:
    """Join the pieces of a long recording to one contiguous WAV and delete them; False where no piece is waiting."""
    waiting = pieces_path(folder, id_)
    paths = [f"{waiting}/{chunk:06d}.pcm" for chunk in range(chunks)]
    if any(info.type == FileType.NotFound for info in fs.get_file_info(paths)):
        return False

    def pieces() -> Iterator[np.ndarray]:
        for path in paths:
            with fs.open_input_stream(path) as file:
                while block := file.read(1 << 22):
                    yield np.frombuffer(block, np.int16)

    write_whole(fs, wave_path(folder, id_), lambda file: _write_wave(file, num_samples, pieces()))
    fs.delete_dir(waiting)
    return True


def remove_pieces(fs: FileSystem, folder: str) -> None:
    """Delete what waits below `folder`: pieces of recordings that are joined, or that failed."""
    if fs.get_file_info(f"{folder}/{PIECES}").type == FileType.Directory:
        fs.delete_dir(f"{folder}/{PIECES}")


def without_wave(fs: FileSystem, folder: str, ids: list[str]) -> list[str]:
    """Those of the recordings `ids` that have no WAV below `folder`, which is listed once."""
    found = fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
    there = {info.path for info in found if info.type == FileType.File}
    return [id_ for id_ in ids if wave_path(folder, id_) not in there]


def remove_waves(fs: FileSystem, folder: str, ids: list[str]) -> None:
    """Delete the WAVs and the waiting pieces of these recordings, as far as they are there."""
    for first in range(0, len(ids), LOOKED_UP_AT_ONCE):
        some = ids[first : first + LOOKED_UP_AT_ONCE]
        paths = [path for id_ in some for path in (wave_path(folder, id_), pieces_path(folder, id_))]
        for info in fs.get_file_info(paths):
            if info.type == FileType.File:
                fs.delete_file(info.path)
            elif info.type == FileType.Directory:
                fs.delete_dir(info.path)


LOOKED_UP_AT_ONCE = 1_000


def _write_bytes(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _write_wave(file: BinaryIO, num_samples: int, blocks: Iterable[np.ndarray]) -> None:
    file.write(wave_header(num_samples))
    for block in blocks:
        file.write(block.tobytes())
