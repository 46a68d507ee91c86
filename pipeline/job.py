"""Settings -> a job: what is decided and refused before the inputs and the run's folder are looked at."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soxr
from pyarrow.fs import FileSystem

from actors.checkpoint import exact_context_frames, name_anywhere, weights_sha256
from actors.contract import FRAME_RATE, FRAME_SAMPLES, OFFICIAL_MODEL, OFFICIAL_REVISION
from pipeline.audio.length import Lengths
from pipeline.audio.speech import vad_version
from pipeline.cluster.load import CodecSpec, Decoding
from pipeline.cluster.resources import Resources, allot
from pipeline.cluster.versions import FOR_SPEECH, ON_WORKERS, installed, versions
from pipeline.read import Reading
from pipeline.run.keys import Keys
from pipeline.run.layout import WaveKind
from pipeline.run.read_as import recorded
from pipeline.settings import Settings
from pipeline.sources.shard import Shard
from pipeline.storage.atomic import Check
from pipeline.storage.filesystem import locate
from pipeline.storage.location import redact


def no_lock() -> None:
    """The check of a job that holds no run's lock."""


@dataclass(frozen=True)
class Job:
    """All that is decided before the first recording is read."""

    settings: Settings
    resources: Resources
    model: str  # "demo", a hub id or an absolute folder: every machine finds its own copy
    sha256: str  # of the weights; every actor must load the same
    packages: dict[str, str | None]  # versions that every actor must have
    vad: str | None  # what finds the stretches of speech, and its version
    chunk_samples: int
    context_samples: int
    exact_context_samples: int  # what a code under attention window can depend on, at most
    fs: FileSystem
    run: str
    keys: Keys  # of what is committed, as the driver knows it
    shard: Shard | None = None  # only this share of the inputs
    limit: int | None = None  # only the first recordings of it, as `sources.limit` counts them
    quiet: bool = False  # no progress, and no notes on the inputs
    check_lock: Check = no_lock  # driver and workers call it before they commit; `locked` gives it

    @property
    def waves(self) -> WaveKind:
        """How reconstructions are kept."""
        return WaveKind(self.settings.output.waves, self.settings.output.wave_format)

    @property
    def reading(self) -> Reading:
        """The arguments of the read stage."""
        rules = self.settings.input
        return Reading(
            chunk_samples=self.chunk_samples,
            context_samples=self.context_samples,
            allow_truncated=rules.allow_truncated,
            max_recording_s=rules.max_recording_s,
            track=rules.track,
            wanted=Lengths(rules.min_s, rules.max_s),
        )

    def codec(self, stage: str) -> CodecSpec:
        """The arguments of the actors of a pool, "encode" or "decode"."""
        return CodecSpec(
            self.model,
            self.sha256,
            self.packages,
            self.resources.device,
            self.resources.precision,
            self.settings.attention,
            self.settings.accelerate,
            self.resources.pools[stage].threads,
            stage,
        )

    @property
    def decoding(self) -> Decoding:
        """The arguments of decoding a run's codes again."""
        pool = self.resources.pools["decode"]
        return Decoding(
            self.codec("decode"),
            pool,
            self.resources.block_bytes,
            self.chunk_samples,
            self.context_samples,
            self.settings.stall_s,
        )


def prepare(settings: Settings, model: Path, out: str, cluster: dict[str, float], stages: tuple[str, ...]) -> Job:
    """Decide resources, model and lengths; nothing is written.

    `model`: its folder on this machine. `cluster`: `ray.cluster_resources()`. Raises DeviceError where the pools do not
    fit. What contradicts the inputs or the run that is there is refused later, by `flow.begin`.
    """
    fs, run = locate(out, settings.input.schemes)
    context_s = settings.chunk.context_s
    vad = vad_version(settings.input.vad)
    used = FOR_SPEECH if vad else ()
    exact_frames = exact_context_frames(model)
    context_frames = exact_frames if context_s is None else round(context_s * FRAME_RATE)
    return Job(
        settings=settings,
        resources=allot(settings, cluster, stages),
        model=name_anywhere(settings.model),
        sha256=weights_sha256(model),
        packages={name: version for name, version in installed().items() if name in (*ON_WORKERS, *used)},
        vad=vad,
        chunk_samples=settings.chunk.length_samples,
        context_samples=context_frames * FRAME_SAMPLES,
        exact_context_samples=exact_frames * FRAME_SAMPLES,
        fs=fs,
        run=run,
        keys=Keys(fs, run),
    )


def describe(job: Job, inputs: list[str]) -> dict[str, Any]:
    """The part of run.json that is known beforehand."""
    settings = job.settings
    return {
        "inputs": [*map(recorded, inputs)],
        "model": {
            "id": redact(job.model),
            "revision": OFFICIAL_REVISION if settings.model == OFFICIAL_MODEL else None,
            "sha256": job.sha256,
        },
        "attention": settings.attention,
        "precision": job.resources.precision,
        "device": job.resources.device,
        "resampler": f"soxr {soxr.__version__} HQ",
        "track": settings.input.track,
        "vad": job.vad,
        "chunk": {"samples": job.chunk_samples, "context_samples": job.context_samples},
        "exact_context_samples": job.exact_context_samples,
        "shard": None if job.shard is None else str(job.shard),
        "limit": job.limit,
        "settings": json.loads(settings.model_dump_json()) | {"model": redact(job.model)},
        "versions": versions(),
    }
