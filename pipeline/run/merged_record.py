"""The run.json of several runs -> what keeps them from being one run, and the run.json of the one that they make."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pipeline.errors import InputError, listed
from pipeline.run.layout import wave_kind
from pipeline.run.read_as import READ_AS, read_as
from pipeline.run.resume import BOUNDS, CORPUS, DECIDES_CODES, LACKS_WAVES
from pipeline.storage.location import absolute

Record = tuple[str, dict[str, Any]]
"""A run's name, and its run.json."""

SAME = (
    *(("model", "sha256") if key == "model" else (key,) for key in DECIDES_CODES),
    *(("settings", "input", name) for name in BOUNDS),
)
"""The keys of run.json that decide which codes a run makes, and of which recordings."""

PASSED_OVER = "passed_over"


def refuse_unlike(records: Sequence[Record], with_waves: Sequence[Record]) -> None:
    """Raise InputError for runs that make other codes of a recording, or that keep waves in other ways."""
    first, reference = records[0]
    for name, record in records[1:]:
        for keys in SAME:
            one, other = _value(reference, keys), _value(record, keys)
            if one != other:
                raise InputError(
                    f"{'.'.join(keys)} is {one!r} in {first} and {other!r} in {name}: one run holds codes of one kind."
                    " Tokenize one of them again, or keep two runs."
                )
    for name, record in with_waves[1:]:
        first, reference = with_waves[0]
        one, other = wave_kind(reference["settings"]), wave_kind(record["settings"])
        if one != other:
            raise InputError(
                f"{first} keeps its waves as {one.layout} of {one.format}, {name} as {other.layout} of {other.format};"
                " a run keeps them in one way. Delete wav/ of one of them and tokenize it again as the other: its waves"
                " are made anew, from the codes."
            )


def _value(record: dict[str, Any], keys: tuple[str, ...]) -> Any:
    found: Any = record
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def refuse_missing_shards(records: Sequence[Record]) -> None:
    """Raise InputError for shards of which others are not there, or that saw other inputs: the merged run would say
    that it is complete, and lack some."""
    groups: dict[tuple[int, tuple[str, ...]], dict[int, str | None]] = defaultdict(dict)
    for _, record in records:
        if record.get("shard"):
            index, count = map(int, record["shard"].split("/"))
            groups[count, _inputs(record)][index] = record.get(CORPUS)
    for (count, inputs), there in groups.items():
        odd = [index for index, corpus in there.items() if corpus != next(iter(there.values()))]
        if odd:
            raise InputError(
                f"The inputs {', '.join(inputs)} held something else when shard {odd[0]}/{count} began than when shard"
                f" {next(iter(there))}/{count} did. Run all shards again, which adds what is new, then merge."
            )
        missing = sorted(set(range(count)) - there.keys())
        if missing:
            names = listed([f"{index}/{count}" for index in missing], 3)
            raise InputError(f"Shards {names} of {', '.join(inputs)} are missing: merge all {count} of them.")


def _inputs(record: dict[str, Any]) -> tuple[str, ...]:
    """Older versions wrote relative paths as they were typed."""
    return tuple(map(absolute, record["inputs"]))


def merged_record(records: Sequence[Record], with_waves: Sequence[Record]) -> dict[str, Any]:
    """run.json of the complete run that holds what all of them hold; settings and versions are the first's, how waves
    are kept that of those that have some."""
    found = [record for _, record in records]
    inputs = list(dict.fromkeys(name for record in found for name in _inputs(record)))
    same = all(_inputs(record) == _inputs(found[0]) for record in found)
    kind = wave_kind((with_waves or records)[0][1]["settings"])
    output = {**found[0]["settings"].get("output", {}), "waves": kind.layout, "wave_format": kind.format}
    measured = [record["agreement_with_fp32"] for record in found if record.get("agreement_with_fp32")]
    return {
        **found[0],
        "state": "complete",
        "settings": {**found[0]["settings"], "output": output},
        "inputs": inputs,
        "device": ", ".join(sorted({record["device"] for record in found})),
        "merged": [name for name, _ in records],
        "shard": None,
        "limit": None,
        CORPUS: None,
        "counts": _counts(found, same),
        PASSED_OVER: found[0].get(PASSED_OVER, {}) if same else {},
        "parts": {name: sha256 for record in found for name, sha256 in record["parts"].items()},
        "attempts": sorted((one for record in found for one in record["attempts"]), key=lambda one: one["started"]),
        "warnings": list(dict.fromkeys(text for record in found for text in record.get("warnings", []))),
        "agreement_with_fp32": min(measured, default=None),  # the lowest share of codebook 0
        READ_AS: read_as(reversed(found), found[0]["settings"]),
        LACKS_WAVES: any(record.get(LACKS_WAVES, False) for record in found),
    }


def _counts(found: Sequence[dict[str, Any]], same: bool) -> dict[str, Any]:
    """Sums. What was passed over is counted by every shard anew: that of the first, if all have the same inputs."""
    names = [name for name in found[0]["counts"] if name != PASSED_OVER]
    counts = {name: sum(record["counts"].get(name, 0) for record in found) for name in names}
    counts = {name: round(value, 3) if isinstance(value, float) else value for name, value in counts.items()}
    return counts | (
        {PASSED_OVER: found[0]["counts"][PASSED_OVER]} if same and PASSED_OVER in found[0]["counts"] else {}
    )
