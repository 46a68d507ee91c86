"""Tar and Parquet shards and plain files for the tests of planning and reading; and what reading a plan gives."""

import io
import pickle
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import RecordingError
from pipeline.read import Reading, read_chunks
from pipeline.sources.formats import recordings
from pipeline.sources.plan import Plan
from pipeline.sources.task import InputRecording

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Hugging Face's `Audio`."""


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Files below `folder`, which is returned."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    """A tar of `members` in order, names as they are."""
    with tarfile.open(path, mode, errors="surrogateescape") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_parquet(path: Path, audio: list[dict[str, object] | None], rows: int = 2, **columns: object) -> Path:
    """A Parquet shard with `rows` rows in a row group."""
    table = pa.table({"audio": pa.array(audio, AUDIO), **columns})
    pq.write_table(table, path, row_group_size=rows)
    return path


def read(plan: Plan) -> list[InputRecording]:
    """All items, tasks pickled on the way as they are by Ray."""
    return [item for task in plan.tasks for item in recordings(pickle.loads(pickle.dumps(task)))]


def content(item: InputRecording) -> bytes | str:
    """The item's bytes, or the error that opening it raises: "Class: message"."""
    try:
        with item.open() as file:
            return file.read()
    except RecordingError as error:
        return f"{type(error).__name__}: {error}"


def contents(plan: Plan) -> dict[str, bytes | str]:
    """id -> content. Every id must be there once."""
    found = read(plan)
    assert len({item.id for item in found}) == len(found)
    return {item.id: content(item) for item in found}


def cells(item: InputRecording) -> dict[str, object]:
    """The carried columns as Python values."""
    return {name: cell.as_py() for name, cell in item.carried.items()}


def outcomes(plan: Plan) -> dict[str, float | str]:
    """id -> seconds of audio that reading gives, or the name of the error."""
    how = Reading(7_200_000, 0, allow_truncated=False, max_recording_s=1e5)
    tables = [table for task in plan.tasks for table in read_chunks(task, how, plan.carried, {})]
    rows = [row for table in tables for row in table.to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["error"] or row["num_samples"] / 24_000 for row in rows}
