"""The results of all steps -> a verdict on each promise of the engine."""

from collections.abc import Callable
from typing import Any, NamedTuple

PASSED, FAILED, NOT_ASKED, NOT_RUN = "passed", "failed", "not asked on a CPU", "not run"

Found = dict[str, Any]
"""Results of one step."""


class Gate(NamedTuple):
    """`figure`, taken from the results of `step`, must be at least `least`."""

    name: str
    step: str
    least: float
    figure: Callable[[Found], float]
    needs_gpu: bool = False


def default(part: str, key: str) -> Callable[[Found], float]:
    """`key` of the default setup of the step speed."""
    return lambda found: found[part]["default"][key]


def in_any_company(found: Found) -> float:
    """The least share of equal codes, of all precisions, where only batch mates differ."""
    if found["left_out"]:
        raise KeyError("every precision")
    return min(share for row in found["precisions"].values() for share in row.values())


def least_decibels(found: Found) -> float:
    """Signal to error of the precision that is farthest from upstream."""
    if found["left_out"]:
        raise KeyError("every precision")
    return min(row["decibels"] for row in found["precisions"].values())


def fewer_tiles(found: Found) -> float:
    """Tiles at once before memory ran out, to those after it."""
    return found["tiles_before"] / found["tiles_after"]


def least_equal(found: Found) -> float:
    """Share of equal codes, while memory was short and after it."""
    return min(found["equal"], found["equal_after"])


GATES = (
    Gate("fp32 codes equal upstream's", "correctness", 0.999, lambda found: found["precisions"]["fp32"]["equal"]),
    Gate("fp32 audio, dB to upstream's", "correctness", 90, lambda found: found["precisions"]["fp32"]["decibels"]),
    Gate("half precision's audio, dB to upstream's", "correctness", 20, least_decibels),
    Gate("codes equal in any order and company", "company", 1.0, in_any_company),
    Gate("fp32 codes of a stream equal a call's", "streams", 0.999, lambda found: found["equal"]),
    Gate("fp32 audio of a stream, dB to a call's", "streams", 90, lambda found: found["decibels"]),
    Gate("encode, times real time", "speed", 10_000, default("encode", "times_real"), True),
    Gate("decode, times real time", "speed", 2_000, default("decode", "times_real"), True),
    Gate("encode, new lengths to known ones", "speed", 0.8, default("encode", "fresh_to_again"), True),
    Gate("decode, new lengths to known ones", "speed", 0.8, default("decode", "fresh_to_again"), True),
    Gate("encode, device busy", "busy", 0.8, lambda found: found["encode"]["busy"], True),
    Gate("decode, device busy", "busy", 0.8, lambda found: found["decode"]["busy"], True),
    Gate("out of memory, then fewer tiles at once", "out of memory", 2, fewer_tiles, True),
    Gate("out of memory, codes equal", "out of memory", 0.999, least_equal, True),
)
"""The promises. Speeds are those of the default settings, over lengths that were never seen before."""


def verdicts(steps: dict[str, Found], errors: dict[str, str], on_gpu: bool) -> list[dict[str, Any]]:
    """One row a gate: "gate", "least", "measured" (None where it was not), "verdict", "why" (what kept it)."""
    return [_verdict(gate, steps, errors, on_gpu) for gate in GATES]


def _verdict(gate: Gate, steps: dict[str, Found], errors: dict[str, str], on_gpu: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"gate": gate.name, "least": gate.least, "measured": None, "why": ""}
    if gate.needs_gpu and not on_gpu:
        return row | {"verdict": NOT_ASKED}
    if gate.step not in steps:
        return row | ({"verdict": FAILED, "why": errors[gate.step]} if gate.step in errors else {"verdict": NOT_RUN})
    try:
        measured = gate.figure(steps[gate.step])
    except KeyError as missing:  # a part of the step that could not run: the step says why
        left_out = steps[gate.step].get("left_out", {})
        return row | {"verdict": FAILED, "why": "; ".join(left_out.values()) or f"{missing} was not measured"}
    return row | {"measured": measured, "verdict": PASSED if measured >= gate.least else FAILED}
