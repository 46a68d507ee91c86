"""One command -> everything that the engine promises, measured: the plan of steps, and the verdict. Runs without Ray.

Every step ends in a dict of figures or in an error that is noted; the next step runs all the same.
"""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from actors.bench.audio import made_clips, read_clips
from actors.bench.busy import busy
from actors.bench.correctness import company, correctness, long_recording
from actors.bench.environment import environment, machine
from actors.bench.gates import verdicts
from actors.bench.out_of_memory import out_of_memory
from actors.bench.race import beside_upstream
from actors.bench.reader import reader
from actors.bench.speed import speed
from actors.bench.streams import streams
from actors.bench.subject import Size, Subject, size_for
from actors.bench.tables import table as table
from actors.bench.variants import default_precisions, model_folder
from actors.codec import CHOICES
from actors.device import choose_device, choose_precision
from actors.errors import SettingsError

Step = Callable[[Subject, Size], dict[str, Any]]
Told = Callable[[dict[str, Any]], None]
"""Given the result so far, after every step."""

PLAN: dict[str, Step] = {
    "environment": environment,
    "correctness": correctness,
    "company": company,
    "streams": streams,
    "speed": speed,
    "busy": busy,
    "reader": reader,
    "long recording": long_recording,
    "out of memory": out_of_memory,
}
"""In this order; after them comes RACE."""
RACE = "beside upstream"
BUDGET_S = {"cuda": 600.0, "cpu": 3600.0}
"""Seconds after which no further step begins."""


def run_bench(
    model: str = "full-size",
    device: str = "auto",
    precisions: Sequence[str] = (),
    audio: str | None = None,
    *,
    rounds: int = 3,
    clips: int = 32,
    peaks: bool = True,
    steps: Sequence[str] = (),
    told: Told = lambda result: None,
) -> dict[str, Any]:
    """The figures of every step, and the verdict; `table` prints them.

    `model`: "full-size" (the official sizes, seeded random weights), or as in Codec.load. `precisions`: fp32, fp16,
    bf16, each also with an acceleration (fp16/graphs); none: `default_precisions`. `audio`: a folder of audio files, of
    which the first `clips` are used beside upstream; None: synthetic signals. `rounds`, `peaks`: see `beside_upstream`.
    `steps`: names in PLAN, or RACE; none: all. Raises InputError, ModelError, DeviceError, SettingsError before the
    first step.
    """
    place = choose_device(device)
    wanted = list(precisions) or default_precisions(place)
    names = tuple(dict.fromkeys(["fp32", *(checked(one, place) for one in wanted)]))
    waves = made_clips(clips) if audio is None else read_clips(Path(audio), clips)
    asked = asked_for(steps)
    with model_folder(model) as folder:
        whole = PLAN | {RACE: lambda s, size: beside_upstream(s.folder, s.device, wanted, waves, rounds, peaks)}
        about = {"model": model, "date": date.today().isoformat(), "machine": machine(place)}
        given = Subject(folder, place, names), size_for(place)
        return run_plan({name: whole[name] for name in asked}, given, about, told, BUDGET_S[place.type])


def checked(variant: str, device: torch.device) -> str:
    """The precision of "fp16" or "fp16/graphs". Raises DeviceError, SettingsError."""
    precision, slash, accelerate = variant.partition("/")
    if slash and accelerate not in CHOICES["accelerate"]:
        raise SettingsError(f"{variant}: behind the / can be {', '.join(CHOICES['accelerate'])}.")
    return choose_precision(precision, device)


def run_plan(
    plan: dict[str, Step], given: tuple[Subject, Size], about: dict[str, Any], told: Told, budget_s: float
) -> dict[str, Any]:
    """`about`, and "steps", "errors" and "seconds" by step, and "gates"."""
    (subject, size), start = given, time.monotonic()
    steps: dict[str, Any] = {}
    errors: dict[str, str] = {}
    seconds: dict[str, float] = {}
    result = about | {"size": size._asdict(), "gates": [], "steps": steps, "errors": errors, "seconds": seconds}
    for name, step in plan.items():
        began = time.monotonic()
        if began - start > budget_s:
            errors[name] = f"not begun: {began - start:.0f} s were spent, of {budget_s:.0f} s"
        else:
            measure(name, step, given, result)
        seconds[name] = time.monotonic() - began
        result["gates"] = verdicts(steps, errors, subject.device.type == "cuda")
        told(result)
    return result


def writable(path: Path) -> Path:
    """`path`. Raises SettingsError where no figures could be written to it, which are there in minutes."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SettingsError(f"--json {path}: expected a file in a folder that is there and can be written.")
    return path


def teller(path: Path | None) -> Told:
    """Says on stderr how each step ended, and keeps the result so far in the file `path`: what a crash leaves."""

    def told(result: dict[str, Any]) -> None:
        name, seconds = list(result["seconds"].items())[-1]
        print(f"{name}: {result['errors'].get(name, 'done')} ({seconds:.0f} s)", file=sys.stderr, flush=True)
        if path is not None:
            path.write_text(json.dumps(result, indent=2) + "\n")

    return told


def measure(name: str, step: Step, given: tuple[Subject, Size], result: dict[str, Any]) -> None:
    """The step's figures into "steps", or its error into "errors": the other steps still tell something."""
    try:
        free(given[0].device)
        result["steps"][name] = step(*given)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        result["errors"][name] = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"


def free(device: torch.device) -> None:
    """Give back the device memory of the steps before. Raises where the device is broken."""
    if device.type == "cuda":
        gc.collect()  # their codecs, whose graphs hold memory
        torch.cuda.empty_cache()


def passed(result: dict[str, Any]) -> bool:
    """Whether no step broke and no gate failed; gates that were not asked, or whose step was not, do not count."""
    return not result["errors"] and all(row["verdict"] != "failed" for row in result["gates"])


def asked_for(steps: Sequence[str]) -> list[str]:
    """The steps in the plan's order; none: all of them. Raises SettingsError."""
    known = [*PLAN, RACE]
    unknown = [name for name in steps if name not in known]
    if unknown:
        raise SettingsError(f"There is no step {unknown[0]!r}; there are {', '.join(known)}.")
    return [name for name in known if name in steps] if steps else known
