"""run.json of a run that starts, or that is there and goes on; and whether an output folder may be written to."""

import contextlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.errors import ClusterError, OutputError
from pipeline.run.layout import (
    FOLDERS,
    LOCK_FILE,
    REPORT_FILE,
    RUN_FILE,
    SKIPPED,
    SUCCESS_FILE,
    WAVES,
    parts,
    wave_kind,
)
from pipeline.run.read_as import READ_AS, read_as, refuse_other_column
from pipeline.run.run_json import read_run_file
from pipeline.storage.atomic import UNFINISHED as UNFINISHED_FILE
from pipeline.storage.atomic import write_whole
from pipeline.storage.location import absolute

DECIDES_CODES = ("model", "attention", "precision", "resampler", "track", "vad", "chunk")
"""The keys of run.json that must not change within a run: other values would give other codes, or other recordings."""


LACKS_WAVES = "lacks_waves"
"""A key of run.json: an attempt ran without `reconstruct`, so that recordings may have codes and no wave."""


CORPUS = "corpus"
"""A key of run.json of a shard: the fingerprint of all that its inputs held, of which it has a share."""
MERGING = "merging"
"""A key of run.json until a merge is complete: the runs that it is made of."""
RUNNING = "running"
"""A key of run.json while an attempt runs: when it began, its command, how many recordings the run will hold (null:
unknown)."""
UNFINISHED = "unfinished"
"""A key of run.json: what RUNNING said of each attempt that did not come to its end."""


PENDING = "pending"
"""A key of run.json until the run is complete: inputs that a command began, and none has finished."""


def utc_now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def resume(fs: FileSystem, run: str, record: dict[str, Any]) -> dict[str, Any]:
    """run.json of a starting run, or of the one that is there and goes on. Writes nothing yet.

    Raises OutputError where the folder holds something else, a damaged run.json, or a run of other codes.
    """
    before = read_run_file(fs, run)
    if before is None:
        refuse_other_contents(fs, run)
        new = {"state": "running", **record, PENDING: record["inputs"], "attempts": []}
        return {**new, LACKS_WAVES: not record["settings"]["reconstruct"]}
    if MERGING in before:
        raise OutputError(
            f"{run} is a merge that was killed. Do the same `voxmill merge` again, or give --out another."
        )
    refuse_other_shard(run, before, record)
    _refuse_other_waves(fs, run, before["settings"], record["settings"])
    changed = [
        f"{key}: {before.get(key)!r} there, {record.get(key)!r} now"
        for key in DECIDES_CODES
        if _deciding(before, key) != _deciding(record, key)
    ]
    if changed:
        raise OutputError(
            f"{run} belongs to a run that makes other codes ({'; '.join(changed)}). Use the same settings to go on, or "
            "give --out a new folder."
        )
    if left := not_given(pending(before), record):
        raise OutputError(
            f"{run} is not complete: {_listed(left)} was begun and is not finished. Give it again, alone or with these"
            f" inputs{_MOVED}, or give --out a new folder."
        )
    refuse_other_column(before, record)
    known = set(map(absolute, before["inputs"]))  # older versions wrote relative paths as they were typed
    inputs = [*before["inputs"], *(name for name in record["inputs"] if absolute(name) not in known)]
    same = wave_kind(before["settings"]) == wave_kind(record["settings"])
    reconstructed = before["settings"]["reconstruct"] and record["settings"]["reconstruct"]
    there = fs.get_file_info(f"{run}/{WAVES}").type != FileType.NotFound
    lacks = before.get(LACKS_WAVES, False) or not (reconstructed and same and there)
    others = read_as([before, {"settings": record["settings"], "inputs": record["inputs"]}], record["settings"])
    found = {**before, **record, "state": "running", "inputs": inputs, PENDING: record["inputs"], LACKS_WAVES: lacks}
    return {**found, READ_AS: others}


_MOVED = " (where the corpus has moved: with --set input.changed=keep)"


def pending(summary: Mapping[str, Any]) -> list[str]:
    """Inputs of a run that were begun and are not finished; of an older version's all, unless it is complete."""
    return summary.get(PENDING, [] if summary["state"] == "complete" else summary["inputs"])


def not_given(names: list[str], record: Mapping[str, Any]) -> list[str]:
    """Those of `names` that are no inputs of a command; none where it keeps what has another place now."""
    given = set(map(absolute, record["inputs"]))
    keeps = record["settings"].get("input", {}).get("changed") == "keep"
    return [] if keeps else [name for name in names if absolute(name) not in given]


def _listed(names: list[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _deciding(record: Mapping[str, Any], key: str) -> Any:
    """The value of a key of DECIDES_CODES. A model is its weights, whatever it is called."""
    return record["model"]["sha256"] if key == "model" else record.get(key)


def _refuse_other_waves(fs: FileSystem, run: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise OutputError if the run has waves of another kind than `now`: a reader would not find them."""
    there, asked = wave_kind(before), wave_kind(now)
    if there != asked and fs.get_file_info(FileSelector(f"{run}/{WAVES}", allow_not_found=True)):
        raise OutputError(
            f"{run}/{WAVES} holds waves with output.waves={there.layout} output.wave_format={there.format}, now "
            f"{asked.layout} and {asked.format} are asked for. Use the same settings to go on, give --out a new "
            f"folder, or delete {WAVES}/: its waves are then made again, from the codes."
        )


def refuse_other_shard(run: str, before: dict[str, Any], record: dict[str, Any]) -> None:
    """Raise OutputError where a run and a command are of different shards of their inputs."""
    if before.get("shard") != record.get("shard"):
        raise OutputError(
            f"{run} is {_share(before)} of its inputs, this command asks for {_share(record)}. Give each shard a"
            " folder of its own; `voxmill merge` makes one run of them."
        )


def _share(record: dict[str, Any]) -> str:
    return f"shard {record['shard']}" if record.get("shard") else "all"


BOUNDS = ("min_s", "max_s")


def other_bounds(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Whether two run.json differ in which lengths are skipped."""
    one, other = (((record or now)["settings"].get("input", {})) for record in (before, now))
    return any(one.get(name) != other.get(name) for name in BOUNDS)


def refuse_other_bounds(fs: FileSystem, run: str, before: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Raise OutputError where recordings of inputs that a command does not name were skipped by other bounds: it could
    not look at them again."""
    left = not_given(before["inputs"], record)
    if left and other_bounds(read_run_file(fs, run), record) and parts(fs, run, SKIPPED):
        raise OutputError(
            f"{run} skipped recordings by other bounds of length (input.min_s, input.max_s), and these inputs lack"
            f" {_listed(left)}. Give all inputs of the run{_MOVED}, or the bounds that it has."
        )


def mark(fs: FileSystem, run: str, complete: bool) -> None:
    """RUN/_SUCCESS is there exactly while every input of the last attempt is in codes, in failures or skipped."""
    path = f"{run}/{SUCCESS_FILE}"
    if complete:
        write_whole(fs, path, lambda file: file.write(b""))
    else:
        with contextlib.suppress(FileNotFoundError):
            fs.delete_file(path)


def refuse_unshared(folder: str, made: str) -> None:
    """Raise ClusterError in a worker that does not see what the driver has `made` in a `folder` of a disk."""
    if not os.path.exists(made):
        raise ClusterError(
            f"Node {platform.node()} does not see the folder {folder}, which the driver has begun: what it writes would"
            " be lost. Mount that disk on every node, or give --out a folder that all nodes share, or a URI."
        )


def refuse_other_contents(fs: FileSystem, run: str) -> None:
    """Raises OutputError where `run`, which has no run.json, is a file or a folder that holds something but claims and
    what a writer that was killed left of them."""
    is_file = fs.get_file_info(run).type == FileType.File
    found = [] if is_file else fs.get_file_info(FileSelector(run, allow_not_found=True))
    names = [info.base_name for info in found]
    if is_file or not all(name.startswith(LOCK_FILE) or UNFINISHED_FILE.fullmatch(name) for name in names):
        what = "a file" if is_file else "not empty and holds no run"
        raise OutputError(f"{run} is {what}. Give --out a new folder, or an earlier run's to go on.")


def clear(fs: FileSystem, run: str) -> None:
    """Delete the run that is there, also one whose run.json is damaged; what holds something else is left alone.

    `_SUCCESS` goes first and run.json last: a deletion that breaks off leaves nothing that looks complete.
    """
    if fs.get_file_info(f"{run}/{RUN_FILE}").type != FileType.File:
        return
    mark(fs, run, complete=False)
    if fs.get_file_info(f"{run}/{REPORT_FILE}").type == FileType.File:
        fs.delete_file(f"{run}/{REPORT_FILE}")
    for folder in FOLDERS:
        if fs.get_file_info(f"{run}/{folder}").type == FileType.Directory:
            fs.delete_dir(f"{run}/{folder}")
    fs.delete_file(f"{run}/{RUN_FILE}")
