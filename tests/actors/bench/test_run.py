"""The command: all steps in one run; a step that breaks, and a budget that is spent, lose no other step."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.bench.__main__ import main
from actors.bench.run import PLAN, RACE, asked_for, passed, run_plan
from actors.bench.subject import ON_CPU, Size, Subject
from actors.bench.tables import WRITERS, table
from actors.bench.variants import CLIP_BY_CLIP, IN_LISTS
from actors.errors import SettingsError

WITHOUT = """
import sys; sys.modules.update(dict.fromkeys(["ray", "pipeline", "pydantic", "typer", "av"]))
from actors.bench.__main__ import main; sys.exit(main())
"""


@pytest.mark.slow
def test_one_command_measures_all(small_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ["--model", str(small_model), "--device", "cpu", "--precision", "fp32", "--json", str(out)]
    command = [sys.executable, "-c", WITHOUT, *options, "--rounds", "1", "--clips", "2", "--no-peaks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["errors"] == {}
    assert list(result["steps"]) == [*PLAN, RACE]
    assert all(not step.get("left_out") for step in result["steps"].values())
    assert done.stdout.strip() == table(result)
    assert passed(result)
    asked = [row for row in result["gates"] if row["verdict"] != "not asked on a CPU"]
    assert [row["verdict"] for row in asked] == ["passed"] * 6
    assert set(result["machine"]) == {"device", "threads", "cores", "torch", "cpu"}
    live = result["steps"]["streams"]["live"]
    assert all(0 < median <= slowest for median, slowest in (live["encode"], live["decode"]))
    beside_upstream(result["steps"][RACE])
    speeds(result["steps"])


def beside_upstream(found: dict[str, Any]) -> None:
    """Every variant is measured, and upstream differs where its padding differs."""
    for rows in found["figures"].values():
        assert list(rows) == [CLIP_BY_CLIP, IN_LISTS, "voxmill, fp32"]
        for row in rows.values():
            assert len(row["seconds"]) == 1
            assert row["times_real"] > 0
            assert 0 < row["flops"] / row["product_flops"] < 1.5
    assert found["figures"]["encode"]["voxmill, fp32"]["equal"] >= 0.999
    assert found["figures"]["encode"][CLIP_BY_CLIP]["equal"] < 1  # its last frames: it pads at another place
    assert found["figures"]["decode"]["voxmill, fp32"]["decibels"] >= 90


def speeds(steps: dict[str, Any]) -> None:
    """Every setup has its figures, for both parts."""
    for part in ("encode", "decode"):
        assert list(steps["speed"][part]) == ["default", "2 tiles at once", "accelerate none"]
        assert all(value > 0 for row in steps["speed"][part].values() for value in row.values())
        assert steps["busy"][part]["operators_per_s"] > 0
        assert 1e-4 < steps["busy"][part]["host_loop_s"] < 1
        assert steps["busy"][part]["moved_bytes_per_s"] > 4 * 24_000
    for row in steps["long recording"]["attention"].values():
        assert row["start_equal"] >= 0.999


@pytest.mark.gpu
def test_every_step_runs_on_a_gpu(small_model: Path) -> None:
    given = Subject(small_model, torch.device("cuda"), ("fp32", "fp16", "bf16")), ON_CPU._replace(batches=(64,))
    result = run_plan(PLAN, given, {}, lambda result: None, 600)
    assert result["errors"] == {}
    assert all(not step.get("left_out") for step in result["steps"].values())
    assert result["steps"]["out of memory"]["limited"]
    print(table(result))


def test_a_step_that_breaks_loses_no_other() -> None:
    def broken(subject: Subject, size: Size) -> dict[str, Any]:
        return {"rate": 1 / (size.calls - size.calls)}

    told: list[list[str]] = []
    given = Subject(Path(), torch.device("cpu"), ("fp32",)), ON_CPU
    plan = {"correctness": broken, "streams": lambda subject, size: {"equal": 1.0}}
    result = run_plan(plan, given, {}, lambda so_far: told.append(list(so_far["seconds"])), 60)
    assert list(result["errors"]) == ["correctness"]
    assert result["errors"]["correctness"].startswith("ZeroDivisionError: division by zero (test_run.py, line ")
    assert result["steps"] == {"streams": {"equal": 1.0}}
    assert told == [["correctness"], ["correctness", "streams"]]
    assert not passed(result)
    alone = run_plan({RACE: broken}, given, {}, lambda so_far: None, 60)  # no gate is about it
    assert not passed(alone)
    rows = {row["gate"]: row["verdict"] for row in result["gates"]}
    assert rows["fp32 codes equal upstream's"] == "failed"
    assert rows["fp32 codes of a stream equal a call's"] == "passed"


def test_no_step_begins_once_the_budget_is_spent() -> None:
    given = Subject(Path(), torch.device("cpu"), ("fp32",)), ON_CPU
    plan: Any = {"correctness": lambda subject, size: time.sleep(0.1) or {}, "late": lambda subject, size: {}}
    result = run_plan(plan, given, {}, lambda so_far: None, 0.05)
    assert list(result["steps"]) == ["correctness"]
    assert result["errors"]["late"].startswith("not begun: ")


def test_steps_keep_the_plans_order() -> None:
    assert asked_for(()) == [*PLAN, RACE] == list(WRITERS)
    assert asked_for((RACE, "speed", "company")) == ["company", "speed", RACE]
    with pytest.raises(SettingsError, match=r"no step 'sped'; there are environment, "):
        asked_for(("sped",))


def test_mistakes_are_told_before_the_first_step(
    small_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, says in (
        (["--precision", "fp32/graph"], "fp32/graph: behind the / can be auto, none, graphs."),
        (["--json", "/nowhere/figures.json"], "--json /nowhere/figures.json: expected a file in a folder"),
    ):
        monkeypatch.setattr(sys, "argv", ["bench", "--model", str(small_model), "--device", "cpu", *options])
        assert main() == 2
        told = capsys.readouterr()
        assert says in told.err
        assert told.out == ""
