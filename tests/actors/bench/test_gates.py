"""Verdicts: every gate passes, fails, says why it could not be asked, or is not asked on a CPU."""

import copy
from typing import Any

import pytest

from actors.bench.gates import GATES, verdicts

GOOD: dict[str, Any] = {
    "correctness": {
        "precisions": {"fp32": {"equal": 0.9995, "decibels": 102.0}, "bf16": {"equal": 0.7, "decibels": 31.0}},
        "left_out": {},
    },
    "company": {"precisions": {"fp32": {"again": 1.0, "in_another_order": 1.0, "alone": 1.0}}, "left_out": {}},
    "streams": {"equal": 1.0, "decibels": 103.0},
    "speed": {
        "encode": {"default": {"times_real": 12_000.0, "fresh_to_again": 0.9}},
        "decode": {"default": {"times_real": 2_000.0, "fresh_to_again": 0.8}},
        "left_out": {},
    },
    "busy": {"encode": {"busy": 0.8}, "decode": {"busy": 0.95}, "left_out": {}},
    "out of memory": {"tiles_before": 128, "tiles_after": 32, "equal": 1.0, "equal_after": 0.9991},
}
WORSE = {
    "fp32 codes equal upstream's": (("correctness", "precisions", "fp32", "equal"), 0.9989),
    "fp32 audio, dB to upstream's": (("correctness", "precisions", "fp32", "decibels"), 89.9),
    "half precision's audio, dB to upstream's": (("correctness", "precisions", "bf16", "decibels"), 19.0),
    "codes equal in any order and company": (("company", "precisions", "fp32", "alone"), 0.99999),
    "fp32 codes of a stream equal a call's": (("streams", "equal"), 0.9),
    "fp32 audio of a stream, dB to a call's": (("streams", "decibels"), 0.06),
    "encode, times real time": (("speed", "encode", "default", "times_real"), 9_999.0),
    "decode, times real time": (("speed", "decode", "default", "times_real"), 1_999.0),
    "encode, new lengths to known ones": (("speed", "encode", "default", "fresh_to_again"), 0.79),
    "decode, new lengths to known ones": (("speed", "decode", "default", "fresh_to_again"), 0.79),
    "encode, device busy": (("busy", "encode", "busy"), 0.79),
    "decode, device busy": (("busy", "decode", "busy"), 0.79),
    "out of memory, then fewer tiles at once": (("out of memory", "tiles_after"), 128),
    "out of memory, codes equal": (("out of memory", "equal_after"), 0.99),
}


def test_all_is_well() -> None:
    rows = verdicts(GOOD, {}, on_gpu=True)
    assert {row["verdict"] for row in rows} == {"passed"}
    assert {row["gate"] for row in rows} == set(WORSE)


@pytest.mark.parametrize("name", WORSE)
def test_each_gate_fails_alone(name: str) -> None:
    found = copy.deepcopy(GOOD)
    (*path, last), value = WORSE[name]
    place: Any = found
    for key in path:
        place = place[key]
    place[last] = value
    assert [row["gate"] for row in verdicts(found, {}, on_gpu=True) if row["verdict"] != "passed"] == [name]


def test_a_step_that_broke_fails_its_gates_with_its_text() -> None:
    found = {name: step for name, step in GOOD.items() if name not in ("speed", "streams")}
    rows = {row["gate"]: row for row in verdicts(found, {"speed": "RuntimeError: no kernel"}, on_gpu=True)}
    assert rows["decode, times real time"]["verdict"] == "failed"
    assert rows["decode, times real time"]["measured"] is None
    assert rows["decode, times real time"]["why"] == "RuntimeError: no kernel"
    assert rows["fp32 codes of a stream equal a call's"]["verdict"] == "not run"  # nobody asked for its step


def test_what_a_step_left_out_fails_its_gate() -> None:
    found = copy.deepcopy(GOOD)
    found["speed"] |= {"encode": {}, "left_out": {"encode: default": "DeviceError: no graph"}}
    found["company"]["left_out"] = {"bf16": "RuntimeError: no bf16"}
    rows = {row["gate"]: row for row in verdicts(found, {}, on_gpu=True)}
    assert rows["encode, times real time"]["why"] == "DeviceError: no graph"
    assert rows["codes equal in any order and company"]["why"] == "RuntimeError: no bf16"
    assert rows["codes equal in any order and company"]["verdict"] == "failed"


def test_a_cpu_is_asked_for_codes_alone() -> None:
    asked = [row["gate"] for row in verdicts(GOOD, {}, on_gpu=False) if row["verdict"] != "not asked on a CPU"]
    assert asked == [gate.name for gate in GATES if gate.step in ("correctness", "company", "streams")]
