"""A folder that `datasets.save_to_disk` wrote (Arrow streams with an `Audio` column) -> its recordings.

A stream has no index: a file is one container, and is read twice, first for its ids. A local one is memory-mapped, a
remote one is fetched whole.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from pipeline.errors import InputError, RecordingError, UnreadableAudio
from pipeline.sources.audio_rows import AudioRows
from pipeline.sources.found import Found, Rules
from pipeline.sources.members import broken, unexpected
from pipeline.sources.parquet_footer import audio_column, travelling
from pipeline.sources.task import UNIT_SCHEMA, Container, InputRecording, ReadTask, containers
from pipeline.storage.access import Access
from pipeline.storage.filesystem import infos, locate
from pipeline.storage.location import around, file_name, folder_of, is_local, is_uri, local_path, quoted, redact
from pipeline.storage.opening import open_stream, spool
from pipeline.storage.stamp import modified
from pipeline.storage.text import plain_type
from pipeline.storage.translate import errors_as, reason

SUFFIXES = (".arrow",)
STATE, SPLITS = "state.json", "dataset_dict.json"
FOLDERS = ((STATE, "dataset_info.json"), (SPLITS,))
"""What save_to_disk writes for a Dataset, and for a DatasetDict of several."""
MAX_JSON_BYTES = 64 << 20
DAMAGE = (OSError, ValueError, pa.ArrowException)


def discover(source: str, units: pa.Table, rules: Rules) -> tuple[list[Found], int]:
    """The data files of the datasets that `units` stand for, or .arrow files themselves. All have one schema."""
    files = [file for unit in units.to_pylist() for file in _files(unit, rules.access)]
    schema, audio = _schema([file["@location"] for file in files], rules)
    carried = pa.schema([pa.field(new, plain_type(schema.field(i).type)) for i, new in travelling(schema, audio)])
    return [Found(source, "arrow", pa.Table.from_pylist(files, UNIT_SCHEMA), carried)], 0


def _files(unit: dict[str, Any], access: Access) -> Iterator[dict[str, Any]]:
    """UNIT_SCHEMA rows, ids relative to the folder."""
    location = unit["@location"]
    name = file_name(location)
    if name not in (STATE, SPLITS):
        yield unit
        return
    before, after = around(folder_of(location))
    known = _json(location, access)
    if name == SPLITS:
        for split in _names(known.get("splits"), location):
            inner = f"{before}{quoted(split) if is_uri(before) else split}/{STATE}{after}"
            yield from (file | {"@id": f"{split}/{file['@id']}"} for file in _files({"@location": inner}, access))
        return
    if known.get("_indices_data_files"):
        raise InputError(f"{redact(location)}: rows picked by an index of their own; save the dataset again")
    names = _names([one.get("filename") for one in known.get("_data_files") or ()], location)
    fs, folder = locate(f"{before.rstrip('/')}{after}", access.schemes)
    with errors_as(location, InputError):
        found = infos(fs, [f"{folder.rstrip('/')}/{one}" for one in names])
    for one, info in zip(names, found, strict=True):
        where = f"{before}{quoted(one) if is_uri(before) else one}{after}"
        row = {"@id": one, "@location": where, "@size": info.size, "@version": modified(info.mtime_ns)}
        yield row | {"@bytes": info.size or 0}


def _json(location: str, access: Access) -> dict[str, Any]:
    with errors_as(location, InputError), open_stream(location, access) as file:
        text = file.read(MAX_JSON_BYTES)
    try:
        known = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError(f"{redact(location)}: not JSON ({reason(e)})") from None
    if not isinstance(known, dict):
        raise InputError(f"{redact(location)}: expected an object, as datasets.save_to_disk writes")
    return known


def _names(names: Any, location: str) -> list[str]:
    if isinstance(names, list) and names and all(isinstance(one, str) and one and "/" not in one for one in names):
        return names
    raise InputError(f"{redact(location)}: expected names of files beside it, found {names!r:.200}")


def _schema(locations: list[str], rules: Rules) -> tuple[pa.Schema, str]:
    """The schema of the first file that can be read, and its column of audio."""
    why = ""
    for location in locations:
        try:
            with errors_as(location, InputError), open_stream(location, rules.access) as file:
                schema = ipc.open_stream(file).schema.remove_metadata()
                names = schema.names  # decodes them, which may fail
        except InputError as e:
            why = why or str(e)
            continue
        audio = audio_column(schema, rules.column, location)
        if audio is None:
            raise InputError(
                f"{redact(location)}: no column holds audio: {', '.join(names)}; name it with input.column"
            )
        return schema, audio
    raise InputError(why)


def read(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of the files of `task` that is not committed, in order."""
    done = frozenset(task.done.to_pylist())
    for shard in containers(task):
        yield from rows(shard, done)


def rows(shard: Container, done: frozenset[str]) -> Iterator[InputRecording]:
    """Every recording of a file that is not in `done`. Where the file breaks, one item fails under its own id."""
    read = 0
    try:
        with errors_as(shard.location, UnreadableAudio), _opened(shard) as file:
            known = AudioRows(shard, done, ipc.open_stream(file).schema, partial(_column, file))
            for batch in _batches(file):
                yield from known.recordings(batch, range(read, read + batch.num_rows))
                read += batch.num_rows
    except (InputError, RecordingError, ValueError) as e:
        if shard.id not in done:
            yield broken(shard, UnreadableAudio(f"{e} (after {read:,} rows)"))
    except Exception as e:
        if shard.id not in done:
            yield broken(shard, unexpected(shard, e))


def _opened(shard: Container) -> AbstractContextManager[Any]:
    if is_local(shard.location):
        return pa.memory_map(local_path(shard.location))
    with open_stream(shard.location, shard.access) as stream:
        return pa.PythonFile(spool(stream), "r")


def _batches(file: Any) -> Iterator[pa.RecordBatch]:
    file.seek(0)
    for batch in ipc.open_stream(file):
        batch.validate(full=True)  # what reads beyond its buffers would end the process
        yield batch


def _column(file: Any, name: str) -> pa.ChunkedArray | None:
    """A column ("id", "audio.path") up to where the file breaks; copied, so that no audio stays in memory."""
    name, _, field = name.partition(".")
    chunks: list[pa.Array] = []
    try:
        for batch in _batches(file):
            if batch.schema.names.count(name) != 1:
                return None
            column = batch.column(name)
            if field:
                if not pa.types.is_struct(column.type) or column.type.get_field_index(field) < 0:
                    return None
                column = pc.struct_field(column, field)
            chunks.append(column.take(pa.array(range(len(column)), pa.int64())))
    except DAMAGE:  # the rows before it have ids; the second reading says why
        pass
    return pa.chunked_array(chunks) if chunks else None
