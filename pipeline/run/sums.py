"""sha256 of the parts of codes. RUN/.sums/ has what killed commands noted: those parts need not be read again."""

import hashlib
from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
from pyarrow.fs import FileSystem, FileType

from pipeline.run.layout import CODES, SUMS, part_infos, parts
from pipeline.run.note_file import note_infos, read_note, write_note
from pipeline.storage.at_once import at_once
from pipeline.storage.atomic import Check
from pipeline.storage.filesystem import BUFFER_BYTES

SUMS_SCHEMA = pa.schema([("part", pa.string()), ("sha256", pa.string())])


def note_sums(fs: FileSystem, run: str, sums: Mapping[str, str], check: Check) -> None:
    """Write `sums`, by the names of their parts."""
    write_note(fs, f"{run}/{SUMS}", pa.table([list(sums), list(sums.values())], schema=SUMS_SCHEMA), check)


def noted_sums(fs: FileSystem, run: str) -> dict[str, str]:
    """All that was noted, of parts that are as they were then. A part that a repair deleted and a rerun made again may
    have other bytes under its name: it is younger than the note, or has two sums. Damaged notes tell nothing."""
    notes = note_infos(fs, f"{run}/{SUMS}")
    tables = at_once(lambda note: read_note(fs, note.path, SUMS_SCHEMA), notes)
    times = {info.base_name: info.mtime_ns or 0 for info in part_infos(fs, run, CODES)}
    pairs = {
        (row["part"], row["sha256"])
        for note, table in zip(notes, tables, strict=True)
        for row in table.to_pylist()
        if times.get(row["part"], 0) <= (note.mtime_ns or 0)
    }
    sums = Counter(part for part, _ in pairs)
    return {part: found for part, found in pairs if sums[part] == 1}


def forget_sums(fs: FileSystem, run: str) -> None:
    """Delete what was noted: run.json has it."""
    if fs.get_file_info(f"{run}/{SUMS}").type == FileType.Directory:
        fs.delete_dir(f"{run}/{SUMS}")


def checksums(fs: FileSystem, run: str, known: Mapping[str, str | None]) -> dict[str, str]:
    """sha256 of every part of codes that is there, by name: `known`, noted, or read."""
    paths = {path.rpartition("/")[2]: path for path in parts(fs, run, CODES)}
    told = dict(known)  # None: its part is gone, or was; it is read
    if any(name not in told for name in paths):
        told = {**noted_sums(fs, run), **told}
    unknown = [name for name in paths if not told.get(name)]
    told.update(zip(unknown, at_once(lambda name: sha256(fs, paths[name]), unknown), strict=True))
    return {name: found for name in paths if (found := told[name])}  # always there by now


def sha256(fs: FileSystem, path: str) -> str:
    """Of a file, read a few megabytes at a time."""
    digest = hashlib.sha256()
    with fs.open_input_stream(path) as file:
        while block := file.read(BUFFER_BYTES):
            digest.update(block)
    return digest.hexdigest()
