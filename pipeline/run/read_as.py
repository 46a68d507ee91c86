"""Inputs that one command after another added to a run -> how each was read: `retry` reads it like that again.

run.json holds the settings of the last command. With another `input.root`, say, the same manifest names other files.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.storage.location import absolute, redact

READ_AS = "read_as"
"""A key of run.json: input -> its `Rules`, of inputs that were read by other ones than the settings say."""
DEFAULTS = {"column": None, "root": None, "channels": "mean"}
"""Settings below `input` that decide which audio an id is, where it is not refused to change them."""

Rules = dict[str, Any]


def rules_of(summary: Mapping[str, Any], name: str) -> Rules:
    """How a run read one of its inputs."""
    return summary.get(READ_AS, {}).get(_recorded(name), _rules(summary["settings"]))


def read_as(records: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Rules]:
    """The inputs of `records`, run.json of runs or of commands, the last one's last, that were read by other rules than
    `settings` have."""
    found = {_recorded(name): rules_of(record, name) for record in records for name in record["inputs"]}
    return {name: rules for name, rules in found.items() if rules != _rules(settings)}


def _recorded(name: str) -> str:
    """An input as run.json names it, however it is typed."""
    return redact(absolute(name))


def _rules(settings: Mapping[str, Any]) -> Rules:
    found = settings.get("input", {})
    return {key: found.get(key, value) for key, value in DEFAULTS.items()}
