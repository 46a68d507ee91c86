"""Settings and a model -> the micro-benchmark in a process of its own -> a `Measured`."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.cluster.load import brief_waits
from pipeline.cluster.resources import Resources
from pipeline.doctor.advise import thread_counts
from pipeline.doctor.cost import Cost, Measured
from pipeline.doctor.measure import Trial
from pipeline.doctor.predict import block_s
from pipeline.errors import VoxmillError
from pipeline.settings import Settings

SLACK_S = 240.0
"""Beside the seconds that are asked for: imports, weights, and calls that take longer than their share."""


@dataclass(frozen=True)
class Place:
    """Where a trial finds what it needs."""

    clips: Path
    out: str  # where it writes, and deletes again
    name: str  # what the model is called
    folder: Path  # the model's


def run_trial(place: Place, settings: Settings, resources: Resources, cores: float, seconds: float) -> Measured:
    """Measure for about `seconds`. Raises VoxmillError for what the process says."""
    trial = Trial(
        str(place.clips),
        place.out,
        str(place.folder),
        resources.device,
        resources.precision,
        settings.attention,
        settings.accelerate,
        thread_counts(resources, cores),
        block_s(resources),
        settings.output.waves,
        settings.output.wave_format,
        seconds,
        time.time(),
    )
    command = [sys.executable, "-m", "pipeline.doctor.measure"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asdict(trial)),
            capture_output=True,
            text=True,
            timeout=seconds + SLACK_S,
            check=False,
            env=brief_waits(os.environ),  # as in an actor
        )
    except subprocess.TimeoutExpired:
        raise VoxmillError(f"no result within {seconds + SLACK_S:g} s; try it with a smaller --model") from None
    if done.returncode:
        raise VoxmillError(" ".join(done.stderr.strip().splitlines()[-1:]) or f"exit code {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    costs = [Cost(**one) for one in found["costs"]]
    return Measured(place.name, resources.device, resources.precision, found["start_s"], costs, os.getloadavg()[0])
