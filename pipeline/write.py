"""Rows with codes -> parts of Parquet, WAVs, failures. Everything appears whole or not at all.

A part's name is a hash of the chunks in it, so that a retried write replaces its own file and adds no second one.
"""

import functools
import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.files import safe_relative_path, write_whole
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA, SAMPLE_RATE

CODES = "codes"
FAILURES = "failures"
WAVES = "wav"
PIECES = ".pieces"
"""Chunks of long recordings wait here as raw PCM until all are there."""


@dataclass(frozen=True)
class Written:
    """What one write committed; the driver adds them up."""

    codes_part: str = ""
    codes_sha256: str = ""
    failures_part: str = ""
    recordings: int = 0  # last chunks, so that a long recording counts once
    chunks: int = 0
    samples: int = 0  # at 24 kHz
    frames: int = 0
    failures: int = 0


def write_parts(rows: pa.Table, fs: FileSystem, run: str) -> pa.Table:
    """Commit rows as at most one part of codes and one of failures; returns one row: a `Written`.

    `rows` are CODES_SCHEMA, then carried columns, and "stage", "error", "message", which are null but for failures.
    """
    failed = pc.is_valid(rows["stage"])
    failures = rows.filter(failed).select(FAILURES_SCHEMA.names)
    carried = [name for name in rows.column_names if name not in {*CODES_SCHEMA.names, *FAILURES_SCHEMA.names}]
    codes = rows.filter(pc.invert(failed)).select(CODES_SCHEMA.names + carried)
    written = Written(
        recordings=pc.sum(pc.equal(pc.add(codes["chunk"], 1), codes["chunks"])).as_py() or 0,
        chunks=len(codes),
        samples=pc.sum(codes["num_samples"]).as_py() or 0,
        frames=pc.sum(codes["num_frames"]).as_py() or 0,
        failures=len(failures),
    )
    values = asdict(written)
    if len(codes):
        name = part_name(codes["id"], codes["chunk"])
        values["codes_part"], values["codes_sha256"] = name, write_table(codes, fs, f"{run}/{CODES}/{name}")
    if len(failures):
        name = part_name(failures["id"], failures["stage"])
        write_table(failures, fs, f"{run}/{FAILURES}/{name}")
        values["failures_part"] = name
    return pa.Table.from_pylist([values])


def part_name(*keys: pa.ChunkedArray) -> str:
    """`part-<hash of the rows' keys>.parquet`: the same rows always get the same name."""
    digest = hashlib.sha256()
    for row in zip(*(column.to_pylist() for column in keys), strict=True):
        digest.update(repr(row).encode())
    return f"part-{digest.hexdigest()[:16]}.parquet"


def write_table(table: pa.Table, fs: FileSystem, path: str) -> str:
    """Write `table` to `path` as Parquet (zstd, with checksums of pages), whole; returns the file's sha256."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=_dictionary_columns(table),
        write_page_checksum=True,
    )
    content = sink.getvalue()
    write_whole(fs, path, lambda file: file.write(content))
    return hashlib.sha256(content).hexdigest()


def _dictionary_columns(table: pa.Table) -> list[str]:
    """Every column but the codes: their values are close to uniform, a dictionary would only add to them."""
    return [name for name in table.column_names if name != "codes"]


def write_waves(rows: pa.Table, fs: FileSystem, folder: str) -> pa.Table:
    """Write column "wave" (large_list<int16>, null for failures) as WAVs and drop it.

    A recording of one chunk becomes `folder/<id>.wav`; a chunk of a longer one waits as raw PCM in `folder/.pieces/`.
    """
    waves = rows["wave"].combine_chunks()
    for index, (id_, chunk, chunks) in enumerate(
        zip(*(rows[c].to_pylist() for c in ("id", "chunk", "chunks")), strict=True)
    ):
        if not waves[index].is_valid:
            continue
        pcm = waves[index].values.to_numpy()
        if chunks == 1:
            write_whole(fs, wave_path(folder, id_), functools.partial(_write_wave, num_samples=len(pcm), blocks=[pcm]))
        else:
            write_whole(
                fs,
                f"{pieces_path(folder, id_)}/{chunk:06d}.pcm",
                functools.partial(_write_bytes, content=pcm.tobytes()),
            )
    return rows.drop_columns(["wave"])


def wave_path(folder: str, id_: str) -> str:
    """Where the reconstruction of recording `id_` lies."""
    return f"{folder}/{safe_relative_path(id_)}.wav"


def pieces_path(folder: str, id_: str) -> str:
    """The folder in which the chunks of a long recording's reconstruction wait."""
    return f"{folder}/{PIECES}/{hashlib.sha256(id_.encode()).hexdigest()[:32]}"


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


def _write_bytes(file: BinaryIO, content: bytes) -> None:
    file.write(content)


def _write_wave(file: BinaryIO, num_samples: int, blocks: Iterable[np.ndarray]) -> None:
    file.write(wave_header(num_samples))
    for block in blocks:
        file.write(block.tobytes())


def wave_header(num_samples: int, rate: int = SAMPLE_RATE) -> bytes:
    """The header of a mono PCM 16 WAV of `num_samples`; RF64 (EBU Tech 3306) where 32-bit sizes do not suffice."""
    size = 2 * num_samples
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    if size + 36 < 1 << 32:
        return struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + layout + struct.pack("<4sI", b"data", size)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 72, size, num_samples, 0)
    full = 0xFFFFFFFF  # says: look in ds64
    return struct.pack("<4sI4s", b"RF64", full, b"WAVE") + sizes + layout + struct.pack("<4sI", b"data", full)


def parts(fs: FileSystem, run: str, folder: str) -> list[str]:
    """Paths of the committed parts in RUN/codes or RUN/failures, in order of name; or what is there instead."""
    found = fs.get_file_info(FileSelector(f"{run}/{folder}", allow_not_found=True))
    return sorted(info.path for info in found if info.base_name.startswith("part-"))
