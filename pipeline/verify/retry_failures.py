"""A run with failures -> their rows dropped, and the run's own command again, which then processes only them."""

import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem, FileType

from pipeline.errors import InputError, plural
from pipeline.flow import tokenize
from pipeline.log_line import log_line
from pipeline.run.committed import committed
from pipeline.run.layout import FAILURES, SUCCESS_FILE, parts
from pipeline.run.lock import locked
from pipeline.run.parts import read_part
from pipeline.run.reader import Run, open_run
from pipeline.run.resume import PENDING, mark, pending
from pipeline.run.run_json import read_run_file, recorded_inputs, save
from pipeline.run.write import write_table
from pipeline.schema import FAILURES_SCHEMA
from pipeline.storage.at_once import on_store
from pipeline.storage.filesystem import locate
from pipeline.storage.location import is_uri, redact
from pipeline.storage.text import clean_id


def retry(
    location: str | Path,
    errors: Sequence[str] = (),
    *,
    inputs: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Try the run's failures again, or only those whose "error" is among `errors`; returns the finished run.

    Uses the settings in run.json, changed by `settings` (dotted keys), and its inputs, unless `inputs` are given. Its
    `ray_address` is ignored: only the caller chooses the cluster that gets this process's code and data. run.json holds
    no credentials: those of URIs come from the environment or from `inputs`. Raises VoxmillError as `tokenize` does.
    Failures of recordings that it did not come to, or that the inputs no longer hold, are there afterwards too.
    """
    fs, run = locate(str(location))
    summary = read_run_file(fs, run)
    if summary is None:
        raise InputError(f"{redact(str(location))} holds no run.json: its settings and inputs are unknown.")
    given: list[str | Path] = [*(inputs or recorded_inputs(summary))]
    _refuse_unknown(fs, run, errors)
    if not parts(fs, run, FAILURES) and summary["state"] != "running":
        return open_run(location)
    with locked(fs, run):
        complete = fs.get_file_info(f"{run}/{SUCCESS_FILE}").type == FileType.File
        mark(fs, run, complete=False)
        begun = {**summary, "state": "running", PENDING: pending(summary)}  # whoever is killed from here on can go on
        save(fs, run, begun)
        dropped = drop_failures(fs, run, errors)
    chosen = {**recorded_settings(summary), **(settings or {})}
    part = {key: summary[key] for key in ("limit", "shard") if summary.get(key) is not None}
    try:
        tokenize(given, str(location), settings=chosen, quiet=quiet, **part)
    except BaseException as error:  # Ctrl-C and SIGTERM too
        _put_back(fs, run, dropped)
        if read_run_file(fs, run) == begun:  # nothing was written
            save(fs, run, summary)
            mark(fs, run, complete=complete)
        if isinstance(error, InputError) and not inputs:
            hint = _NO_CREDENTIALS if any(is_uri(name) for name in summary["inputs"]) else _RECORDED
            raise InputError(f"{error} ({hint})") from error
        raise
    if kept := _put_back(fs, run, dropped):
        after = read_run_file(fs, run) or summary
        counts = {**after["counts"], "failures": after["counts"]["failures"] + len(kept)}
        save(fs, run, {**after, "counts": counts})
        if not quiet:
            first = clean_id(kept[0])
            log_line(f"{plural(len(kept), 'failure')} stay: these inputs do not hold their recordings, such as {first}")
    return open_run(location)


_RECORDED = "The inputs are those in run.json; --inputs gives them anew, where they are now"
_NO_CREDENTIALS = (
    "The inputs are those in run.json, which holds no credentials: set them in the environment, such as "
    "AWS_ACCESS_KEY_ID, or give the inputs again with --inputs"
)


def drop_failures(fs: FileSystem, run: str, errors: Sequence[str]) -> dict[str, pa.Table]:
    """Rewrite the parts of failures without the kinds `errors` (all kinds if none is given).

    Returns the dropped rows by the path of their part.
    """

    def drop(path: str) -> pa.Table:
        rows = read_part(fs, path, FAILURES_SCHEMA)
        kinds = pa.array(errors, pa.string()) if errors else rows["error"].unique()
        mask = pc.is_in(rows["error"], value_set=kinds)
        gone, staying = rows.filter(mask), rows.filter(pc.invert(mask))
        if len(gone) and len(staying):
            write_table(staying, fs, path)
        elif len(gone):
            fs.delete_file(path)
        return gone

    paths = parts(fs, run, FAILURES)
    return {path: rows for path, rows in zip(paths, on_store(fs, drop, paths), strict=True) if len(rows)}


def _put_back(fs: FileSystem, run: str, dropped: Mapping[str, pa.Table]) -> list[str]:
    """Restore the failures of recordings that an attempt did not process; returns their ids."""
    restored: list[str] = []
    with locked(fs, run) as lock:
        known = committed(fs, run).ids
        for path, rows in dropped.items():
            missing = rows.filter(pc.invert(pc.is_in(rows["id"], value_set=known)))
            if len(missing):
                held = fs.get_file_info(path).type == FileType.File
                there = [read_part(fs, path, FAILURES_SCHEMA)] if held else []
                write_table(pa.concat_tables([*there, missing]), fs, path)
                restored += missing["id"].to_pylist()
        lock.check()
    return restored


def _refuse_unknown(fs: FileSystem, run: str, errors: Sequence[str]) -> None:
    read = functools.partial(read_part, fs, schema=FAILURES_SCHEMA)
    kinds = Counter(name for rows in on_store(fs, read, parts(fs, run, FAILURES)) for name in rows["error"].to_pylist())
    unknown = [name for name in errors if name not in kinds]
    if unknown:
        there = ", ".join(f"{number} {name}" for name, number in kinds.most_common()) or "none"
        raise InputError(f"No failure of this run is a {unknown[0]!r}. Its failures: {there}.")


def recorded_settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a retry takes from run.json, by dotted keys: all settings but `ray_address`, and to do changed sources anew:
    what has codes is not touched."""
    taken = {key: value for key, value in flat_settings(summary["settings"]) if key != "ray_address"}
    return {key: value for key, value in taken.items() if (key, value) != ("input.changed", json.dumps("redo"))}


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings in run.json by dotted keys; strings as JSON, because `tokenize` parses them as YAML."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, str) else value
