"""Settings -> everything that `voxmill doctor` says of a machine: findings, plan, speeds, predictions."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from actors.bench.variants import model_folder
from actors.checkpoint import DEMO_FOLDER
from pipeline.cluster.resources import Resources
from pipeline.doctor.advise import best_settings, config_file, plan_text
from pipeline.doctor.cost import ALONE, Measured
from pipeline.doctor.finding import Finding, change, ok, warn
from pipeline.doctor.machine import Machine, examine
from pipeline.doctor.model import FULL_SIZE, fetch_command
from pipeline.doctor.predict import Prediction, fleet, predict, speed_of_a_gpu
from pipeline.doctor.trial import Place, run_trial
from pipeline.errors import SettingsError, VoxmillError, plural
from pipeline.settings import Settings

DEMO = "the demo model"
MOST = 1e12
"""Of hours, seconds and times real time that may be asked for: infinity would be in the answer, which JSON has not."""
HOURS = (1.0, 1000.0)
"""Of audio, where none are named."""


@dataclass(frozen=True)
class Wanted:
    """What was asked beside the settings."""

    clips: Path
    out: str
    seconds: float
    hours: float | None
    gpus: int | None
    gpu_speed: float | None


@dataclass(frozen=True)
class Report:
    """What `voxmill doctor` says."""

    findings: list[Finding]
    config: str
    plan: str
    measured: Measured | None
    prediction: Prediction | None
    better: dict[str, int]
    predictions: list[str]


def report(settings: Settings, wanted: Wanted, tell: Callable[[str], object]) -> Report:
    """Examine, measure, predict. `tell` hears what takes long. Raises SettingsError for a number above MOST."""
    _refuse_infinite(wanted)
    machine = examine(settings, wanted.clips, wanted.out, wanted.hours)
    findings, measured = list(machine.findings), None
    if wanted.seconds and machine.resources is not None:
        measured, finding = _benchmark(settings, wanted, machine, tell)
        findings.append(finding)
    return _concluded(settings, wanted, machine, findings, measured)


def _refuse_infinite(wanted: Wanted) -> None:
    for name, value in (("hours", wanted.hours), ("seconds", wanted.seconds), ("gpu-speed", wanted.gpu_speed)):
        if value is not None and not value <= MOST:
            raise SettingsError(f"--{name} is {value:g}; expected a number of at most {MOST:g}.")


def _benchmark(
    settings: Settings, wanted: Wanted, machine: Machine, tell: Callable[[str], object]
) -> tuple[Measured | None, Finding]:
    """What was measured, if this machine can, and the finding about it."""
    if machine.resources is not None and machine.resources.device == "cuda" and not machine.gpus:
        seen = "not run: the GPUs are in other machines of the cluster"
        return None, warn("benchmark", seen, "a GPU here", "Run `voxmill doctor` on a node that has one.")
    try:
        measured = _measured(settings, wanted, machine, tell)
    except VoxmillError as error:
        return None, change("benchmark", str(error), "clips that pass all stages", "See the findings above.")
    return measured, _of_trial(measured, settings.model)


def _measured(settings: Settings, wanted: Wanted, machine: Machine, tell: Callable[[str], object]) -> Measured:
    assert machine.resources is not None
    name, folder = settings.model, machine.folder
    if name == FULL_SIZE:
        tell("making random weights of the official sizes, half a minute")
    elif folder is None:
        name, folder = DEMO, DEMO_FOLDER
    with model_folder(name if name == FULL_SIZE else str(folder)) as folder:
        tell(f"measuring {name}, about {wanted.seconds:.0f} s")
        place = Place(wanted.clips, wanted.out, name, folder)
        return run_trial(place, settings, machine.resources, machine.cores, wanted.seconds)


def _of_trial(measured: Measured, model: str) -> Finding:
    """Whether the speeds are those of the model that was asked for, and of a machine that nobody else uses."""
    share = measured.share_of_cores
    seen = f"{measured.model}, {measured.precision} on {measured.device}; an actor starts in {measured.start_s:.1f} s"
    if share < ALONE:
        seen = f"{seen}; it got {share:.0%} of its cores (load {measured.load:.1f})"
        return warn("benchmark", seen, "an idle machine: speeds are those of a busy one", "Repeat it when it is idle.")
    if measured.model not in (model, FULL_SIZE):
        advice = f"{fetch_command(model)}, or --model {FULL_SIZE}: random weights of the official sizes."
        return warn("benchmark", f"{seen}: speeds are the demo model's", f"the speed of {model}", advice)
    return ok("benchmark", seen)


def _concluded(
    settings: Settings, wanted: Wanted, machine: Machine, findings: list[Finding], measured: Measured | None
) -> Report:
    """Plan, better settings and predictions, as far as there is something to conclude from."""
    on_cluster = settings.ray_address is not None or bool(os.environ.get("RAY_ADDRESS"))
    resources = machine.resources
    config = config_file(resources, on_cluster) if resources else "none: the pools do not fit"
    plan = plan_text(resources) if resources else "none"
    audio_s = [hours * 3600 for hours in ([wanted.hours] if wanted.hours else HOURS)]
    on_others = on_gpus(audio_s[-1], wanted, measured, resources) if resources else []
    if measured is None or resources is None or machine.cluster is None:
        return Report(findings, config, plan, None, None, {}, on_others)
    cores = (machine.cluster["CPU"] if on_cluster else machine.cores) * measured.share_of_cores
    runs = [predict(one, measured, resources, cores, machine.cluster.get("GPU", 0.0)) for one in audio_s]
    better: dict[str, int] = {}
    if measured.share_of_cores >= ALONE:
        found = best_settings(settings, machine.cluster, measured, cores, psutil.virtual_memory().available)
        better = found[0] if found else {}
        findings += [_of_settings(better, found[1].rate / runs[-1].rate)] if found else []
    lines = [*(in_words(one, measured) for one in runs), *on_others]
    return Report(findings, config, plan, measured, runs[-1], better, lines)


def _of_settings(better: dict[str, int], times: float) -> Finding:
    advice = " ".join(f"--set {key}={value}" for key, value in better.items())
    return warn("settings", "the pools leave cores idle", f"{times:.1f} times this speed, predicted", advice)


def in_words(run: Prediction, measured: Measured) -> str:
    """A prediction in a sentence."""
    hours = run.audio_s / 3600
    model = "" if measured.model != DEMO else " with the demo model, which is faster than the official one"
    busy = "" if measured.share_of_cores >= ALONE else " (measured on a busy machine: not to be trusted)"
    return (
        f"{hours:,.10g} h of audio here: {_time(run.seconds)}{model}, {run.rate:,.1f}x real time; "
        f"the bottleneck is {WHAT.get(run.bottleneck, run.bottleneck)}{busy}"
    )


WHAT = {
    "read": "reading (input.readers, CPUs for them)",
    "encode": "the encode pool",
    "decode": "the decode pool (--no-reconstruct leaves it out)",
    "write": "writing (the disk at --out)",
    "cores": "the CPU, which all stages share",
    "GPUs": "the GPUs, which the pools share",
    "driver": "the driver, which hands out blocks (chunk.block_mb)",
}


def on_gpus(audio_s: float, wanted: Wanted, measured: Measured | None, resources: Resources) -> list[str]:
    """Predictions for GPUs, from the speed of one that was measured or given; else a sentence, if something was asked
    for that needs one."""
    each = wanted.gpu_speed or (speed_of_a_gpu(measured, resources) if measured else None)
    if each is None and wanted.gpus is not None:
        return ["GPUs: no figure, there is none here to measure. Run `voxmill doctor` on one, or give --gpu-speed X."]
    if each is None and wanted.hours is not None and not wanted.seconds:
        return ["hours: no figure, nothing was measured. Give --seconds more than 0, or --gpu-speed X."]
    if each is None:
        return []
    one = fleet(audio_s, wanted.gpus or 1, each, measured, resources)
    source = "given" if wanted.gpu_speed else "measured"
    limit = f"; one driver hands out {one.rate:,.0f}x: use several runs (--shard)" if one.limited else ""
    cores = "" if one.cores is None else f", beside {max(1, math.ceil(one.cores))} cores that read and write"
    return [
        f"{audio_s / 3600:,.10g} h of audio by {plural(one.gpus, 'GPU')} of {each:,.0f}x real time ({source}): "
        f"{_time(one.hours * 3600)}{cores}{limit}"
    ]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
