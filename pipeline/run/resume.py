"""run.json: what a run was told, what ran it, what came out. Also says whether an output folder may be written to."""

from datetime import UTC, datetime
from typing import Any

from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.errors import OutputError
from pipeline.run.layout import CODES, FAILURES, LOCK_FILE, RUN_FILE, SUCCESS_FILE, WAVES
from pipeline.run.run_json import read_run_file
from pipeline.storage.atomic import write_whole

DECIDES_CODES = ("model", "attention", "precision", "resampler", "chunk")
"""The keys of run.json that must not change within a run: other values would give other codes."""


LACKS_WAVES = "lacks_waves"
"""A key of run.json: an attempt ran without `reconstruct`, so that recordings may have codes and no WAV."""


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def resume(fs: FileSystem, run: str, record: dict[str, Any]) -> dict[str, Any]:
    """run.json of a starting run, or of the one that is there and goes on. Writes nothing yet.

    Raises OutputError where the folder holds something else, a damaged run.json, or a run of other codes.
    """
    before = read_run_file(fs, run)
    if before is None:
        found = fs.get_file_info(FileSelector(run, allow_not_found=True))
        if not all(info.base_name.startswith(LOCK_FILE) for info in found):
            raise OutputError(
                f"{run} is not empty and holds no run. Give --out a new folder, or an earlier run's to go on."
            )
        return {"state": "running", **record, LACKS_WAVES: not record["settings"]["reconstruct"], "attempts": []}
    changed = [
        f"{key}: {before.get(key)!r} there, {record[key]!r} now"
        for key in DECIDES_CODES
        if before.get(key) != record[key]
    ]
    if changed:
        raise OutputError(
            f"{run} belongs to a run that makes other codes ({'; '.join(changed)}). Use the same settings to go on, or "
            "give --out a new folder."
        )
    inputs = [*before["inputs"], *(name for name in record["inputs"] if name not in before["inputs"])]
    reconstructed = before["settings"]["reconstruct"] and record["settings"]["reconstruct"]
    lacks = before.get(LACKS_WAVES, False) or not reconstructed
    return {**before, **record, "state": "running", "inputs": inputs, LACKS_WAVES: lacks}


def mark(fs: FileSystem, run: str, complete: bool) -> None:
    """RUN/_SUCCESS is there exactly while every input of the last attempt is in codes or in failures."""
    path = f"{run}/{SUCCESS_FILE}"
    if complete:
        write_whole(fs, path, lambda file: file.write(b""))
    elif fs.get_file_info(path).type == FileType.File:
        fs.delete_file(path)


def clear(fs: FileSystem, run: str) -> None:
    """Delete the run that is there, also one whose run.json is damaged; what holds something else is left alone.

    `_SUCCESS` goes first and run.json last: a deletion that breaks off leaves nothing that looks complete.
    """
    if fs.get_file_info(f"{run}/{RUN_FILE}").type != FileType.File:
        return
    mark(fs, run, complete=False)
    for folder in (CODES, FAILURES, WAVES):
        if fs.get_file_info(f"{run}/{folder}").type == FileType.Directory:
            fs.delete_dir(f"{run}/{folder}")
    fs.delete_file(f"{run}/{RUN_FILE}")
