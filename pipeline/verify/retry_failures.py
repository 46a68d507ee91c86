"""A run with failures -> their rows set aside, and the run's own command again, which then processes only them."""

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSystem

from pipeline.errors import InputError, OutputError, plural
from pipeline.flow import tokenize
from pipeline.run.keys import Keys
from pipeline.run.layout import FAILURES, is_marked, parts
from pipeline.run.lock import locked
from pipeline.run.parts import read_part
from pipeline.run.read_as import one_way, recorded, refuse_unknown
from pipeline.run.reader import Run, location_of, open_run
from pipeline.run.resume import PENDING, mark, pending
from pipeline.run.retrying import put_back, set_aside
from pipeline.run.run_json import read_run_file, recorded_inputs, save
from pipeline.schema import FAILURES_SCHEMA
from pipeline.settings import flatten
from pipeline.sources.inputs import named
from pipeline.storage.at_once import on_store
from pipeline.storage.filesystem import locate
from pipeline.storage.location import is_uri, redact


def retry(
    location: str | Path | Run,
    errors: str | Sequence[str] = (),
    *,
    inputs: str | Path | Iterable[str | Path] | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Try the run's failures again, or only those whose "error" is among `errors`; returns the finished run.

    The run is a folder, a URI or what `open_run` gives. Uses the settings in run.json, changed by `settings` (dotted
    keys), and its inputs, unless `inputs` are given. Its `ray_address` is ignored: only the caller chooses the cluster
    that gets this process's code and data. run.json holds no credentials: those of URIs come from the environment or
    from `inputs`. Raises VoxmillError as `tokenize` does. Failures of recordings that it did not come to, or that the
    inputs no longer hold, are there afterwards too.
    """
    place = location_of(location)
    fs, run = locate(place)
    summary = read_run_file(fs, run)
    if summary is None:
        raise InputError(f"{redact(place)} holds no run.json: its settings and inputs are unknown.")
    kinds = [errors] if isinstance(errors, str) else errors
    anew = [] if inputs is None else named(inputs)
    given = anew or recorded_inputs(summary)
    rules = _rules(summary, given, settings or {})
    _refuse_limited(summary, given)
    with locked(fs, run):
        put_back(Keys(fs, run))  # of a retry that was killed
        _refuse_unknown(fs, run, kinds)
        if not parts(fs, run, FAILURES) and summary["state"] != "running":
            return open_run(place)
        complete = is_marked(fs, run)
        mark(fs, run, complete=False)
        begun = {**summary, "state": "running", PENDING: pending(summary)}  # whoever is killed from here on can go on
        save(fs, run, begun)
        set_aside(fs, run, kinds)
    chosen = {**recorded_settings(summary), **rules, **(settings or {})}
    part = {key: summary[key] for key in ("limit", "shard") if summary.get(key) is not None}
    try:
        return tokenize(given, place, settings=chosen, quiet=quiet, **part)
    except BaseException as error:  # Ctrl-C and SIGTERM too
        with contextlib.suppress(OutputError), locked(fs, run):  # else who has the lock puts them back, or the next
            put_back(Keys(fs, run))
            if read_run_file(fs, run) == begun:  # nothing was written
                save(fs, run, summary)
                mark(fs, run, complete=complete)
        if isinstance(error, InputError) and not anew:
            hint = _NO_CREDENTIALS if any(is_uri(name) for name in summary["inputs"]) else _RECORDED
            raise InputError(f"{error} ({hint})") from error
        raise


_RECORDED = "The inputs are those in run.json; --inputs gives them anew, where they are now"
_NO_CREDENTIALS = (
    "The inputs are those in run.json, which holds no credentials: set them in the environment, such as "
    "AWS_ACCESS_KEY_ID, or give the inputs again with --inputs"
)


def _rules(summary: Mapping[str, Any], given: Sequence[str | Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted keys, the settings that decide which audio an id of these inputs is: as they were read."""
    by_hand = {key.removeprefix("input.") for key in settings if key.startswith("input.")}
    refuse_unknown(summary, map(str, given), by_hand)
    return flat_settings({"input": one_way(summary, map(str, given), by_hand)})


def _refuse_limited(summary: Mapping[str, Any], given: Sequence[str | Path]) -> None:
    """Raise InputError where the run's limit is of other inputs than those that are tried again."""
    limited = pending(summary) if summary.get("limit") is not None else []
    if limited and {*map(recorded, limited)} != {recorded(str(name)) for name in given}:
        raise InputError(
            f"The last command of this run took only the first {plural(summary['limit'], 'recording')} of"
            f" {', '.join(limited)}. Do it again without --limit, then retry; or retry those inputs alone, with"
            " --inputs."
        )


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
    taken = flat_settings(summary["settings"])
    taken.pop("ray_address", None)
    if taken.get("input.changed") == json.dumps("redo"):
        del taken["input.changed"]
    return taken


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in run.json by dotted keys; strings as JSON, because `tokenize` parses them as YAML."""
    return {key: json.dumps(value) if isinstance(value, str) else value for key, value in flatten(settings)}
