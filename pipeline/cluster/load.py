"""What an actor loads, as plain values -> its codec; other packages or other weights than the driver's are refused."""

import functools
import gc
import os
import platform
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.checkpoint import find_model, weights_sha256
from pipeline.cluster.versions import installed, refuse
from pipeline.errors import ModelError

if TYPE_CHECKING:
    from actors.codec import Codec
    from pipeline.cluster.resources import PoolPlan


BRIEF_WAITS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}
"""Threads of a CPU actor, or of `voxmill stream`, that wait for each other spin for some microseconds, then sleep.
OpenMP's default is to spin a hundred times as long, which takes the cores from the other pool and the readers: with
others at work (load 11 on 2 cores), two threads then took 20 times the CPU time of one, and sleeping ones 1.1 times.
Sleeping at once costs a tenth of the speed where nobody else wants the cores. It is read when PyTorch is imported."""


@dataclass(frozen=True)
class CodecSpec:
    """Everything that an actor must know to load its codec, and what must be the same as on the driver."""

    model: str  # "demo", a hub id or an absolute folder: every machine finds its own copy
    sha256: str  # of the weights
    packages: Mapping[str, str | None]  # versions
    device: str
    precision: str
    attention: str
    accelerate: str
    threads: int | None
    part: str  # encode or decode


@dataclass(frozen=True)
class Decoding:
    """How codes of a run are decoded again."""

    codec: CodecSpec
    pool: "PoolPlan"
    block_bytes: int
    chunk_samples: int  # of one call, at 24 kHz
    context_samples: int
    stall_s: float


def brief_waits(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with BRIEF_WAITS, unless the user has set any of it."""
    return {**({} if BRIEF_WAITS.keys() & environment.keys() else BRIEF_WAITS), **environment}


def refuse_other_packages(packages: Mapping[str, str | None]) -> None:
    """Raise ClusterError in a worker whose packages are not the driver's: its node may have joined after the start."""
    refuse(packages, {platform.node(): _installed()})


_installed = functools.cache(installed)


def load_codec(spec: CodecSpec) -> "Codec":
    """The codec of an actor. Raises ClusterError, ModelError, both with the name of this machine."""
    refuse_other_packages(spec.packages)
    try:
        folder = find_model(spec.model)
    except ModelError as error:
        shared = " The folder must be on a file system that every node shares." if os.path.isabs(spec.model) else ""
        raise ModelError(f"On node {platform.node()}: {error}{shared}") from error
    if spec.device == "cpu":
        os.environ |= brief_waits(os.environ)
    with ThreadPoolExecutor(1) as beside:  # 0.5 s for 0.7 GB, without the interpreter's lock
        seen = beside.submit(weights_sha256, folder)
        codec = _codec_class()
    if seen.result() != spec.sha256:
        raise ModelError(
            f"{spec.model} holds other weights on node {platform.node()} than on the driver: {seen.result()}, "
            f"not {spec.sha256}."
        )
    return codec.load(
        str(folder),
        device=spec.device,
        precision=spec.precision,
        attention=spec.attention,
        threads=spec.threads,
        accelerate=spec.accelerate,
        parts=spec.part,
    )


def _codec_class() -> "type[Codec]":
    """`Codec`, whose import imports PyTorch: a second, and 0.1 s more where garbage is collected meanwhile.

    All that was imported stays. Passed over by the collector from then on, it costs 0.7 s less when the process ends.
    """
    first = "torch" not in sys.modules
    gc.disable()
    try:
        from actors.codec import Codec
    finally:
        gc.enable()
    if first:
        gc.freeze()
    return Codec
