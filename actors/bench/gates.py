"""The results of all steps -> a verdict on each promise of the engine."""

from collections.abc import Callable
from typing import Any, NamedTuple

PASSED, FAILED, NOT_ASKED = "passed", "failed", "not asked on a CPU"

Found = dict[str, Any]
"""Results of one step."""


class Gate(NamedTuple):
    """`figure`, taken from the results of `step`, must be at least `least`."""

    name: str
    step: str
    least: float
    figure: Callable[[Found], float]
    needs_gpu: bool = False


def in_any_company(found: Found) -> float:
    """The least share of equal codes, of all precisions, where only batch mates differ."""
    keys = ("again", "in_another_order", "alone")
    return min(one[key] for one in found["precisions"].values() for key in keys)


GATES = (
    Gate("fp32 codes equal upstream's", "correctness", 0.999, lambda found: found["precisions"]["fp32"]["equal"]),
    Gate("codes equal in any order and company", "correctness", 1.0, in_any_company),
    Gate("fp32 codes of a stream equal a call's", "correctness", 0.999, lambda found: found["streams"]["equal"]),
    Gate("codes equal where memory ran out", "out of memory", 0.999, lambda found: found["equal"]),
    Gate("codes equal after it ran out", "out of memory", 0.999, lambda found: found["equal_after"]),
    Gate("fewer tiles at once where it ran out", "out of memory", 1.0, lambda found: float(found["fewer_tiles"]), True),
    Gate("encode, times real time", "speed", 10_000, lambda found: found["encode"]["default"]["times_real"], True),
    Gate("decode, times real time", "speed", 2_000, lambda found: found["decode"]["default"]["times_real"], True),
    Gate(
        "encode, new lengths to known", "speed", 0.8, lambda found: found["encode"]["default"]["fresh_to_again"], True
    ),
    Gate(
        "decode, new lengths to known", "speed", 0.8, lambda found: found["decode"]["default"]["fresh_to_again"], True
    ),
    Gate("encode, device busy", "busy", 0.8, lambda found: found["encode"]["busy"], True),
    Gate("decode, device busy", "busy", 0.8, lambda found: found["decode"]["busy"], True),
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
        return row | {"verdict": FAILED, "why": errors.get(gate.step, f"the step {gate.step} was not asked for")}
    try:
        measured = gate.figure(steps[gate.step])
    except KeyError as missing:  # a part of the step that could not run: the step says why
        left_out = steps[gate.step].get("left_out", {})
        return row | {"verdict": FAILED, "why": "; ".join(left_out.values()) or f"{missing} was not measured"}
    return row | {"measured": measured, "verdict": PASSED if measured >= gate.least else FAILED}
