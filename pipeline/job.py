"""Settings -> a job: all that is decided, checked and refused before the first recording is read."""

import functools
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soxr
from pyarrow.fs import FileSystem

from actors.checkpoint import exact_context_frames, find_model, fingerprint, name_anywhere
from pipeline.cluster import Resources, allot
from pipeline.errors import ModelError
from pipeline.files import locate, redact
from pipeline.nodes import PACKAGES, installed, refuse
from pipeline.record import versions
from pipeline.schema import FRAME_RATE, FRAME_SAMPLES, OFFICIAL_MODEL, OFFICIAL_REVISION
from pipeline.settings import Settings

if TYPE_CHECKING:
    from actors.codec import Codec


@dataclass(frozen=True)
class Job:
    """All that is decided before the first recording is read."""

    settings: Settings
    resources: Resources
    model: str  # "demo", a hub id or an absolute folder: every machine finds its own copy
    sha256: str  # of the weights; every actor must load the same
    packages: dict[str, str | None]  # versions that every actor must have
    chunk_samples: int
    context_samples: int
    fs: FileSystem
    run: str


def prepare(settings: Settings, model: Path, out: str, cluster: dict[str, float], stages: tuple[str, ...]) -> Job:
    """Everything that can be refused is refused here, before a file is made. `model`: its folder on this machine."""
    fs, run = locate(out, settings.input.schemes)
    context_s = settings.chunk.context_s
    context_frames = exact_context_frames(model) if context_s is None else round(context_s * FRAME_RATE)
    return Job(
        settings=settings,
        resources=allot(settings, cluster, stages),
        model=name_anywhere(settings.model),
        sha256=fingerprint(model),
        packages={name: version for name, version in installed().items() if name in PACKAGES},
        chunk_samples=settings.chunk.length_samples,
        context_samples=context_frames * FRAME_SAMPLES,
        fs=fs,
        run=run,
    )


def describe(job: Job, inputs: list[str]) -> dict[str, Any]:
    """The part of run.json that is known beforehand."""
    settings = job.settings
    return {
        "inputs": [redact(name) for name in inputs],
        "model": {
            "id": redact(settings.model),
            "revision": OFFICIAL_REVISION if settings.model == OFFICIAL_MODEL else None,
            "sha256": job.sha256,
        },
        "attention": settings.attention,
        "precision": job.resources.precision,
        "device": job.resources.device,
        "resampler": f"soxr {soxr.__version__} HQ",
        "chunk": {"samples": job.chunk_samples, "context_samples": job.context_samples},
        "settings": json.loads(settings.model_dump_json()),
        "versions": versions(),
    }


def refuse_other_packages(job: Job) -> None:
    """Raise ClusterError in a worker whose packages are not the driver's: its node may have joined after the start."""
    refuse(job.packages, {platform.node(): _installed()})


_installed = functools.cache(installed)


def load_codec(job: Job, stage: str) -> "Codec":
    """The codec of an actor; refuses packages and weights that are not the driver's.

    Raises ClusterError, ModelError, both with the name of this machine.
    """
    refuse_other_packages(job)
    try:
        folder = find_model(job.model)
    except ModelError as error:
        shared = " The folder must be on a file system that every node shares." if os.path.isabs(job.model) else ""
        raise ModelError(f"On node {platform.node()}: {error}{shared}") from error
    if fingerprint(folder) != job.sha256:
        raise ModelError(
            f"{job.model} holds other weights on node {platform.node()} than on the driver: {fingerprint(folder)}, not "
            f"{job.sha256}."
        )
    from actors.codec import Codec  # here, for it imports torch

    return Codec.load(
        str(folder),
        device=job.resources.device,
        precision=job.resources.precision,
        attention=job.settings.attention,
        threads=job.resources.pools[stage].threads,
        accelerate=job.settings.accelerate,
        parts=stage,
    )
