"""Inputs that one command after another added to a run -> how each was read: `retry` reads it like that again.

run.json holds the settings of the last command. With another `input.root`, say, the same manifest names other files.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pipeline.errors import InputError
from pipeline.storage.location import absolute, redact

READ_AS = "read_as"
"""A key of run.json: input -> its `Rules`, of inputs that were read by other ones than the settings say."""
DEFAULTS = {"column": None, "root": None, "channels": "mean"}
"""Settings below `input` that decide which audio an id is, where it is not refused to change them."""

Rules = dict[str, Any]


def rules_of(summary: Mapping[str, Any], name: str) -> Rules:
    """How a run read one of its inputs."""
    return summary.get(READ_AS, {}).get(recorded(name), _rules(summary["settings"]))


def one_way(summary: Mapping[str, Any], names: Iterable[str], given: Collection[str] = ()) -> Rules:
    """How a run read these inputs, but for the rules `given` by hand. Raises InputError where that is not one way."""
    each = {name: rules_of(summary, name) for name in names}
    first, rules = next(iter(each.items()))
    for name, own in each.items():
        if odd := [key for key in DEFAULTS if key not in given and own[key] != rules[key]]:
            raise InputError(
                f"{redact(first)} was read with input.{odd[0]}={_yaml(rules[odd[0]])}, {redact(name)} with"
                f" {_yaml(own[odd[0]])}, and one command reads in one way. Give them one after the other, with"
                " --inputs: each is read as it was."
            )
    return rules


def refuse_unknown(summary: Mapping[str, Any], names: Iterable[str], given: Collection[str]) -> None:
    """Raise InputError for what is no input of a run that read its inputs in several ways, where none is `given`."""
    ways = [_rules(summary["settings"]), *summary.get(READ_AS, {}).values()]
    several = [key for key in DEFAULTS if key not in given and any(way[key] != ways[0][key] for way in ways)]
    unknown = [name for name in names if recorded(name) not in set(map(recorded, summary["inputs"]))]
    if several and unknown:
        raise InputError(
            f"{redact(unknown[0])} is no input of the run, which read its inputs with different input.{several[0]}: say"
            f" which is meant with --set input.{several[0]}=..."
        )


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value)


def read_as(records: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Rules]:
    """The inputs of `records`, run.json of runs or of commands, the last one's last, that were read by other rules than
    `settings` have."""
    found = {recorded(name): rules_of(record, name) for record in records for name in record["inputs"]}
    return {name: rules for name, rules in found.items() if rules != _rules(settings)}


def refuse_other_column(before: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Raise InputError where a command reads an input of the run from another column: no row tells its column."""
    known, now = set(map(recorded, before["inputs"])), _rules(record["settings"])["column"]
    for name in record["inputs"]:
        there = rules_of(before, name)["column"]
        if recorded(name) in known and None not in (there, now) and there != now:
            raise InputError(
                f"{name} was read with input.column={there}, now it is {now}: under each id would be other audio. Set"
                " it as before, or give --out a new folder."
            )


def recorded(name: str) -> str:
    """An input as run.json names it, however it is typed."""
    return redact(absolute(name))


def _rules(settings: Mapping[str, Any]) -> Rules:
    found = settings.get("input", {})
    return {key: found.get(key, value) for key, value in DEFAULTS.items()}
