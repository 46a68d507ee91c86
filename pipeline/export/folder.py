"""DIR of an export: which export it holds, and what a killed one left half written."""

import contextlib
import json
from typing import Any

from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.errors import OutputError
from pipeline.export.reference import FILE as REFERENCE_FILE
from pipeline.export.shard import Create
from pipeline.run.layout import LOCK_FILE
from pipeline.storage.at_once import each_on_store
from pipeline.storage.atomic import UNFINISHED
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as

PLAN_FILE = "export.json"
"""The format, its options and the parts of the run; `_SUCCESS` beside it says that all shards are there."""


def take(fs: FileSystem, folder: str, plan: dict[str, Any], create: Create) -> None:
    """Begin or continue the export `plan` in a folder; what a killed one left half written is deleted.

    Raises OutputError where it holds another export, unless nothing of that is there yet, or other files.
    """
    names = [info.base_name for info in fs.get_file_info(FileSelector(folder))]
    found = [name for name in names if LOCK_FILE not in name and not UNFINISHED.fullmatch(name)]
    if found and PLAN_FILE not in found:
        raise OutputError(f"{redact(folder)} holds files that are no export of voxmill. Give --out an empty folder.")
    files = [info for info in fs.get_file_info(FileSelector(folder, recursive=True)) if info.type == FileType.File]
    delete(fs, [info.path for info in files if UNFINISHED.fullmatch(info.base_name)])
    kept = [info.base_name for info in files if LOCK_FILE not in info.base_name]
    begun = any(name not in (PLAN_FILE, REFERENCE_FILE) and not UNFINISHED.fullmatch(name) for name in kept)
    other = [] if not found else _differing(fs, folder, plan)
    if other and begun:
        raise OutputError(
            f"{redact(folder)} holds another export, which differs in {', '.join(other)}. Give --out another folder, "
            "or delete this one."
        )
    if other or not found:
        create(PLAN_FILE, lambda file: file.write(json.dumps(plan, indent=2).encode()))


def delete(fs: FileSystem, paths: list[str]) -> None:
    """Delete files, those that are there."""

    def delete_one(path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(path)

    each_on_store(fs, delete_one, paths)


def _differing(fs: FileSystem, folder: str, plan: dict[str, Any]) -> list[str]:
    """The keys in which the export that is there is another one."""
    path = f"{folder}/{PLAN_FILE}"
    with errors_as(path, OutputError), fs.open_input_stream(path) as file:
        content = file.read()
    try:
        before = json.loads(content)
    except ValueError:  # of no JSON, and of no UTF-8
        before = None
    if not isinstance(before, dict):
        raise OutputError(f"{redact(path)} is no {PLAN_FILE} of voxmill. Give --out an empty folder.")
    return [name for name in plan if before.get(name) != plan[name]]
