"""Settings and what Ray has -> how many actors, GPUs and CPUs each pool gets. Refuses what would hang."""

import math
from dataclasses import dataclass, replace
from typing import Any

from pipeline.cluster.cgroup import usable_cores
from pipeline.errors import DeviceError
from pipeline.settings import Pool, Settings

GPU_BLOCK_MB = (32.0, 256.0)
"""350 s of audio a call at least: tens of milliseconds of a fast GPU. At most 2,800 s: the 60 blocks that a driver
hands out in a second are then 168,000 times real time. A reader takes about three times as much memory."""
MEMORY_SHARE = 0.5
"""Of the object store, and of Ray's memory, that the blocks of a run may take."""


CPU_BLOCK_MB = 4.0
"""44 s of audio a call: a few seconds of two cores, so that progress shows and little is lost when stopped."""


GPU_CALLS = 2
"""Blocks that a GPU actor works on: Ray fetches and stores those of one call while the other is on the device. It runs
the pool's code itself for one call at a time, so that a process still dies over one block."""


TASKS_IN_FLIGHT = {1: 3, GPU_CALLS: 4}
"""Blocks that an actor has in hand, by how many it works on. Ray grows a pool that has over 1.75 times as many."""


MAX_TASK_RETRIES = 20
"""Deaths over one block before the run stops: nine recordings of a block may each take two, and the block one."""


POOL_CPUS = 0.25
"""What a CPU actor reserves of Ray's CPUs: its threads come and go with the readers', and readers must always fit."""


MOST_THREADS = 8
"""Of a CPU actor: an operation of a tile is too small to gain from more. Machines with more cores get more actors."""


COSTS = {"encode": 5.3, "decode": 62.0}
"""GFLOP for a second of audio, by the official sizes."""


ACTOR_BYTES = 2 * 2**30
"""Of a CPU actor of the official size at its peak (1.6 GiB to encode an hour in one call, 1.8 to decode it)."""


@dataclass(frozen=True)
class Resources:
    """What this run uses. `device` is "cpu" or "cuda"; blocks are in bytes."""

    device: str
    precision: str
    block_bytes: int
    rows_per_part: int
    readers: int  # that fit now; more where nodes join, unless input.readers says how many
    pools: dict[str, "PoolPlan"]  # "encode", "decode" or both


@dataclass(frozen=True)
class PoolPlan:
    """One actor pool: how many actors at the start, how few and how many it may become, and what each reserves."""

    actors: int
    least: int
    most: int
    gpus: float
    cpus: float
    threads: int | None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Dataset.map_batches`. A call that keeps killing its actor is given up in the end.

        Ray 2.60 deprecates `max_task_retries` here but has no other place for it; `data_context` keeps that quiet.
        """
        from ray.data import ActorPoolStrategy  # here, for `session` imports it while Ray starts

        calls = GPU_CALLS if self.gpus else 1
        return {
            "compute": ActorPoolStrategy(
                min_size=self.least,
                max_size=self.most,
                initial_size=self.actors,
                max_tasks_in_flight_per_actor=TASKS_IN_FLIGHT[calls],
                max_concurrent_calls_per_actor=calls,
            ),
            "num_cpus": self.cpus,
            "num_gpus": self.gpus or None,
            "max_task_retries": MAX_TASK_RETRIES,
        }


def local_cpus() -> int:
    """CPUs of a local Ray: those that this process may use; on one core, readers and pools take turns."""
    return max(2, math.floor(usable_cores()))


def allot(settings: Settings, cluster: dict[str, float], stages: tuple[str, ...]) -> Resources:
    """Fit the pools of `stages` into `cluster` (`ray.cluster_resources()`); what is not set is chosen.

    Raises DeviceError where the pools could never start, or would leave no CPU to read with (Ray would wait for ever).
    With device "cuda" by name and `max_actors` for every pool, the cluster is taken for one that adds GPU nodes on
    demand: GPUs that it does not have yet are waited for.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    device = ("cuda" if gpus else "cpu") if settings.device == "auto" else settings.device.partition(":")[0]
    grows = settings.device == "cuda" and all(getattr(settings, stage).max_actors for stage in stages)
    if device == "cuda" and not gpus and not grows:
        raise DeviceError(
            "device 'cuda' was asked for, but Ray sees no GPU. Use device 'cpu', or add GPU nodes; where the cluster "
            f"adds them on demand, set {' and '.join(f'{stage}.max_actors' for stage in stages)}."
        )
    precision = settings.precision
    if precision == "auto":
        precision = "fp16" if device == "cuda" else "fp32"
    if device == "cpu" and precision == "fp16":
        raise DeviceError(
            "precision 'fp16' on a CPU takes minutes for seconds of audio. Use 'fp32' or 'bf16', or a GPU."
        )
    threads = {stage: max(1, math.ceil(cpus * COSTS[stage] / max(COSTS[one] for one in stages))) for stage in stages}
    pools = {stage: _pool(getattr(settings, stage), device, cluster, threads[stage], len(stages)) for stage in stages}
    _check_fits(list(pools.values()), cpus, math.inf if grows else gpus)
    free = cpus - sum(pool.actors * pool.cpus for pool in pools.values())
    readers = settings.input.readers or max(1, int(free))
    default_mb = _gpu_block_mb(cluster, readers, list(pools.values())) if device == "cuda" else CPU_BLOCK_MB
    return Resources(
        device=device,
        precision=precision,
        block_bytes=round((settings.chunk.block_mb or default_mb) * 2**20),
        rows_per_part=settings.output.rows_per_part or (2048 if device == "cuda" else 64),
        readers=readers,
        pools=pools,
    )


def fitted(resources: Resources, gpus: float) -> Resources:
    """With as many fewer actors as GPUs are left, of the larger pool first, but one of each; they may grow again."""
    pools = dict(resources.pools)
    while sum(pool.actors * pool.gpus for pool in pools.values()) > gpus and any(p.actors > 1 for p in pools.values()):
        name = max(pools, key=lambda name: pools[name].actors)
        fewer = pools[name].actors - 1
        pools[name] = replace(pools[name], actors=fewer, least=min(pools[name].least, fewer))
    return replace(resources, pools=pools)


def _gpu_block_mb(cluster: dict[str, float], readers: int, pools: list[PoolPlan]) -> float:
    """As large as memory allows: two blocks wait for each reader, TASKS_IN_FLIGHT for each actor."""
    blocks = 2 * readers + TASKS_IN_FLIGHT[GPU_CALLS] * sum(pool.actors for pool in pools)
    free = MEMORY_SHARE * min(cluster.get("object_store_memory", 0.0), cluster.get("memory", 0.0))
    least, most = GPU_BLOCK_MB
    return min(max(free / blocks / 2**20, least), most)


def _pool(pool: Pool, device: str, cluster: dict[str, float], threads: int, pools: int) -> PoolPlan:
    """One actor of each pool on every GPU, or one for every MOST_THREADS of its threads; between its bounds, if any.

    On CPUs the pool that costs most has a thread for every core, the other one as many as keep up with it. That is more
    threads than cores, but one that waits sleeps (see load.py); equal shares would leave the encoder's half idle.
    """
    fit = int(min(threads // MOST_THREADS, cluster.get("memory", math.inf) / (pools * ACTOR_BYTES)))
    actors = pool.actors or max(1, int(cluster.get("GPU", 0.0)) if device == "cuda" else fit)
    elastic = pool.min_actors is not None or pool.max_actors is not None
    most = pool.max_actors or max(actors, pool.min_actors or 1)
    least = min(pool.min_actors or (1 if elastic else actors), most)
    actors = min(max(actors, least), most)
    if device == "cuda":
        return PoolPlan(actors, least, most, pool.gpus or 1 / pools, pool.cpus or 0.0, pool.threads)
    each = pool.threads or min(MOST_THREADS, max(1, threads // actors))
    cpus_each = (0.0 if elastic else POOL_CPUS) if pool.cpus is None else pool.cpus
    return PoolPlan(actors, least, most, 0.0, cpus_each, each)


def _check_fits(pools: list[PoolPlan], cpus: float, gpus: float) -> None:
    if any(pool.least < pool.most and pool.cpus for pool in pools):
        raise DeviceError(
            "A pool with min_actors or max_actors that reserves CPUs may take all that are left when a node is lost, "
            "and then wait for ever for what must be read again. Set encode.cpus / decode.cpus to 0."
        )
    need_gpus = sum(pool.actors * pool.gpus for pool in pools)
    if need_gpus > gpus:
        raise DeviceError(
            f"The pools need {need_gpus:g} GPUs, Ray has {gpus:g}: nothing would ever start. "
            "Lower encode.actors / decode.actors (or min_actors), or the share of a GPU each takes (encode.gpus, ...)."
        )
    if cpus < 1:
        raise DeviceError(
            "Ray has no CPUs to read with. Where its head has none, those of its other nodes come a while after it: "
            "start the run once `ray status` shows them."
        )
    need_cpus = sum(pool.actors * pool.cpus for pool in pools)
    if cpus - need_cpus < 1:
        raise DeviceError(
            f"The pools reserve {need_cpus:g} of Ray's {cpus:g} CPUs and leave none to read with: the run would wait "
            "for ever. Lower encode.actors / decode.actors or encode.cpus / decode.cpus."
        )
