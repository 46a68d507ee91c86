"""The run's own audio -> the share of codes that equal those of fp32, measured on a device of the encode pool."""

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import ray

from actors.contract import SAMPLE_RATE
from pipeline.cluster.load import CodecSpec, load_codec
from pipeline.cluster.resources import PoolPlan
from pipeline.log_line import log_line
from pipeline.read import Reading, read_chunks
from pipeline.sources.committed import without
from pipeline.sources.plan import Plan
from pipeline.sources.task import ReadTask

WAIT_S = 600.0
"""Seconds to wait for a free device: another run may have taken the one that the pool gave back."""
SLOWEST = 10
"""Seconds to wait for each second of audio, on top of WAIT_S."""
MAX_TASKS = 32
"""Read tasks sent to the worker that measures. A whole plan may be gigabytes, and seconds of audio are enough."""


def agreement(
    planned: Plan, failed: pa.ChunkedArray, how: Reading, codec: CodecSpec, pool: PoolPlan, seconds: float
) -> list[float] | None:
    """Share of codes equal to fp32's, per codebook, on the first `seconds` of the run's own audio; None for fp32, and
    where no device comes free for it.

    `failed`: the ids of failures, which are not read again: one of them may have ended its reader.
    """
    if codec.precision == "fp32" or not seconds or not planned.tasks:
        return None
    measure = ray.remote(_measure).options(num_cpus=pool.cpus, num_gpus=pool.gpus or None)
    tasks = without(planned.tasks[:MAX_TASKS], failed)
    share = measure.remote(codec, how, tasks, planned.carried, round(seconds * SAMPLE_RATE))
    wait_s = WAIT_S + SLOWEST * seconds
    if not ray.wait([share], timeout=wait_s)[0]:
        ray.cancel(share)
        log_line(f"agreement with fp32 is not measured: it had no end after {wait_s:.0f} s; is there a free device?")
        return None
    return ray.get(share)


def _measure(
    codec: CodecSpec, how: Reading, tasks: Sequence[ReadTask], carried: pa.Schema, samples: int
) -> list[float] | None:
    waves: list[np.ndarray] = []
    for row in itertools.chain.from_iterable(read_chunks(task, how, carried, {}) for task in tasks):
        if row["audio"][0].is_valid and samples > 0:
            waves.append(row["audio"].combine_chunks()[0].values.to_numpy()[:samples])
            samples -= len(waves[-1])
        if samples <= 0:
            break
    return [round(float(share), 5) for share in load_codec(codec).agreement(waves)] if waves else None


def warnings(shares: list[float] | None, least: float, precision: str) -> list[str]:
    """What run.json warns of: a share of codebook 0 below `least` (`output.agreement_min`)."""
    if shares is None or shares[0] >= least:
        return []
    return [
        f"only {shares[0]:.1%} of codebook 0 agrees with fp32 (output.agreement_min is {least:g}): "
        f"precision {precision} may not suit this audio or these weights"
    ]
