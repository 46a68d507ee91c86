"""DIR of an export: which export it holds, and what a killed one left half written."""

import contextlib
import json
from typing import Any

from pyarrow.fs import FileSelector, FileSystem

from pipeline.errors import OutputError
from pipeline.export.shard import Create
from pipeline.run.layout import LOCK_FILE
from pipeline.storage.atomic import UNFINISHED
from pipeline.storage.location import redact
from pipeline.storage.translate import errors_as

PLAN_FILE = "export.json"
"""The format, its options and the parts of the run; `_SUCCESS` beside it says that all shards are there."""


def take(fs: FileSystem, folder: str, plan: dict[str, Any], create: Create) -> None:
    """Begin or continue the export `plan` in a folder. Raises OutputError where it holds another, or other files."""
    found = [info.base_name for info in fs.get_file_info(FileSelector(folder)) if LOCK_FILE not in info.base_name]
    if PLAN_FILE in found:
        _refuse_another(fs, folder, plan)
        _sweep(fs, folder)
    elif any(not UNFINISHED.fullmatch(name) for name in found):
        raise OutputError(f"{redact(folder)} holds files that are no export of voxmill. Give --out an empty folder.")
    else:
        create(PLAN_FILE, lambda file: file.write(json.dumps(plan, indent=2).encode()))


def delete(fs: FileSystem, paths: list[str]) -> None:
    """Delete files, those that are there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(path)


def _refuse_another(fs: FileSystem, folder: str, plan: dict[str, Any]) -> None:
    path = f"{folder}/{PLAN_FILE}"
    with errors_as(path, OutputError), fs.open_input_stream(path) as file:
        before = json.loads(file.read())
    other = [name for name in plan if before.get(name) != plan[name]]
    if other:
        raise OutputError(
            f"{redact(folder)} holds another export: its {', '.join(other)} differ. Give --out another folder, or "
            "delete this one."
        )


def _sweep(fs: FileSystem, folder: str) -> None:
    found = fs.get_file_info(FileSelector(folder, recursive=True))
    delete(fs, [info.path for info in found if UNFINISHED.fullmatch(info.base_name)])
