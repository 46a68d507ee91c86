"""`voxmill doctor`: text, JSON, exit codes."""

import json
from pathlib import Path

import pytest

from pipeline.cluster.resources import allot
from pipeline.doctor.cost import ALONE, Cost, Measured
from pipeline.doctor.machine import Machine
from pipeline.doctor.predict import predict
from pipeline.doctor.report import Wanted, _benchmark, _concluded, _of_trial, in_words, on_gpus
from pipeline.settings import Settings, load_settings
from tests.helpers.commands import speak, voxmill

COSTS = {"read": (0.001, 0.001), "encode": (0.05, 0.05), "decode": (0.9, 0.9), "write": (0.001, 0.001)}


def measured(name: str, share: float = 1.0) -> Measured:
    costs = [Cost(stage, 1, wall, cpu * share) for stage, (wall, cpu) in COSTS.items()]
    return Measured(name, "cpu", "fp32", 4.0, [*costs, Cost("decode", 2, 0.45, 0.9 * share)], 1.0)


def wanted(tmp_path: Path, hours: float | None = None, gpus: int | None = None, speed: float | None = None) -> Wanted:
    return Wanted(tmp_path, str(tmp_path), 1.0, hours, gpus, speed)


def test_a_machine(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["doctor", "--model", small_model, "--out", tmp_path, "--seconds", 0]
    assert voxmill(*small) == 0
    lines = capsys.readouterr().out.splitlines()
    checks = ["devices", "half precision", "CPU features", "cores", "memory", "open files", "Ray", "model", "decoders"]
    assert all(any(line.startswith(f"ok  {check} ") for line in lines) for check in checks)
    assert "config  configs/laptop.yaml" in lines
    assert any(line.startswith("plan    CPU, fp32: ") for line in lines)
    assert voxmill(*small, "--json", "--hours", 1e9) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in found["findings"] if one["level"] == "change"] == ["free space"]
    assert (found["config"], found["measured"]) == ("configs/laptop.yaml", None)
    assert found["predictions"] == [
        "hours: no figure, nothing was measured. Give --seconds more than 0, or --gpu-speed X."
    ]


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert voxmill("doctor", "--set", "encode.thread=2") == 2
    assert "encode.threads" in capsys.readouterr().err
    assert voxmill("doctor", "--seconds", -1) == 2
    assert voxmill("doctor", tmp_path / "no-run") == 2


@pytest.mark.usefixtures("runs_in_process")
def test_a_run(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speak(tmp_path / "corpus", {"a.wav": 0.4, "b.wav": 0.3})
    run = tmp_path / "run"
    given = ["--model", small_model, "--device", "cpu", "--no-reconstruct", "--out", run]
    assert voxmill("tokenize", tmp_path / "corpus", *given) == 0
    capsys.readouterr()
    assert voxmill("doctor", run) == 0
    assert "ok    GPU used    no: the run used the CPU" in capsys.readouterr().out
    record = json.loads((run / "run.json").read_text())
    record["counts"]["failures"] = 1
    (run / "run.json").write_text(json.dumps(record))
    assert voxmill("doctor", run, "--json") == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["check"] for one in found if one["level"] == "change"] == ["failures"]


def test_predictions_in_words(tmp_path: Path) -> None:
    settings = load_settings(None, {"encode.threads": 1, "decode.threads": 1})
    resources = allot(settings, {"CPU": 2.0}, ("encode", "decode"))
    machine = Machine([], None, {"CPU": 2.0}, resources, 2.0, 0)
    report = _concluded(settings, wanted(tmp_path, 10.0), machine, [], measured("full-size"))
    assert report.better == {"decode.threads": 2}
    assert report.findings[0].advice == "--set decode.threads=2"
    assert len(report.predictions) == 1
    assert report.predictions[0].startswith("10 h of audio here: 9.0 h, 1.1x real time; the bottleneck is the decode")
    demo = in_words(predict(36.0, measured("the demo model"), resources, 2.0, 0.0), measured("the demo model"))
    assert "with the demo model, which is faster than the official one" in demo
    busy = _concluded(settings, wanted(tmp_path), machine, [], measured("full-size", 0.5))
    assert (busy.better, len(busy.predictions)) == ({}, 2)
    assert all("busy machine" in line for line in busy.predictions)


def test_no_figure_of_a_gpu_is_invented(tmp_path: Path) -> None:
    resources, cost = allot(Settings(), {"CPU": 2.0}, ("encode", "decode")), measured("m")
    assert on_gpus(3600.0, wanted(tmp_path), cost, resources) == []
    (line,) = on_gpus(3600.0, wanted(tmp_path, gpus=8), cost, resources)
    assert line.startswith("GPUs: no figure")
    (line,) = on_gpus(3.6e9, wanted(tmp_path, gpus=8, speed=500.0), cost, resources)
    assert (
        line == "1,000,000 h of audio by 8 GPUs of 500x real time (given): 250.0 h, beside 8 cores that read and write"
    )
    (line,) = on_gpus(3.6e9, wanted(tmp_path, gpus=800, speed=500.0), cost, resources)
    assert line.endswith("; one driver hands out 167,772x: use several runs (--shard)")


def test_whose_speeds_these_are() -> None:
    assert _of_trial(measured("a/b"), "a/b").level == "ok"
    assert _of_trial(measured("the demo model"), "a/b").level == "warn"
    busy = _of_trial(measured("a/b", ALONE - 0.1), "a/b")
    assert (busy.level, "an idle machine" in busy.expected) == ("warn", True)


def test_gpus_of_other_machines_are_not_measured(tmp_path: Path) -> None:
    resources = allot(Settings(), {"CPU": 4.0, "GPU": 8.0}, ("encode", "decode"))
    machine = Machine([], None, {"CPU": 4.0, "GPU": 8.0}, resources, 4.0, 0)
    measured, finding = _benchmark(Settings(), wanted(tmp_path), machine, print)
    assert (measured, finding.level) == (None, "warn")
    report = _concluded(Settings(ray_address="auto"), wanted(tmp_path, 1000.0, 8, 250.0), machine, [finding], None)
    assert report.config == "configs/cluster.yaml"
    assert report.predictions == ["1,000 h of audio by 8 GPUs of 250x real time (given): 30.0 min"]
