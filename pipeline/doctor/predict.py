"""What stages cost, and what a run gives each -> its times real time, its bottleneck, its seconds.

    rate    = the least of
              workers / wall       of each stage: its workers, each at the measured speed
              cores / sum of cpu   all stages share the cores
              gpus / sum of wall   the pools on GPUs share these
              blocks               what one driver hands out
    seconds = start + audio / rate + drain

`wall` and `cpu` are seconds for a second of audio. `start`: until the first call of an actor, and the end of Ray.
`drain`: the first and the last block are alone in the pipeline, so the stages beside the bottleneck add the time of one
block. Not in it: left context of recordings longer than a chunk, and measuring agreement with fp32 in half precision.
"""

from dataclasses import dataclass

from pipeline.cluster.resources import CPU_BLOCK_MB, GPU_BLOCK_MB, Resources
from pipeline.doctor.cost import Measured

RAY_S = 11.0
"""Seconds of a command beside its actors' own start, on idle cores; on busy ones as much longer as other work takes.
Measured: 14 s on 2 cores with others at work (load 2): 1 s for imports, 5 until Ray runs, 5 until an actor's process
does, 4 for the end. Chosen for idle ones, where four predictions were within 7 %."""
BLOCKS_A_SECOND = 60.0
"""Blocks that one driver hands out, measured on 2 cores (README, "Runs")."""
BYTES_A_SECOND = 4 * 24_000
"""Of audio in a block."""


@dataclass(frozen=True)
class Prediction:
    """Of a run of `audio_s` seconds of audio."""

    audio_s: float
    seconds: float
    rate: float  # times real time, once it runs
    bottleneck: str  # a key of `limits`
    limits: dict[str, float]  # times real time that each would allow


def block_s(resources: Resources) -> float:
    """Seconds of audio in a block."""
    return resources.block_bytes / BYTES_A_SECOND


def limits(measured: Measured, resources: Resources, cores: float, gpus: float) -> dict[str, float]:
    """Times real time that each stage, the cores together, the GPUs together and the driver allow."""
    costs = {stage: measured.of(stage, pool.threads) for stage, pool in resources.pools.items()}
    costs |= {stage: measured.of(stage) for stage in ("read", "write")}
    workers = {stage: pool.actors for stage, pool in resources.pools.items()}
    workers |= {"read": resources.readers, "write": resources.readers}  # writers run where readers leave room
    found = {stage: workers[stage] / cost.wall_s for stage, cost in costs.items()}
    found["cores"] = cores / sum(cost.cpu_s for cost in costs.values())
    if resources.device == "cuda":
        found["GPUs"] = gpus / sum(costs[stage].wall_s for stage in resources.pools)
    return {**found, "driver": BLOCKS_A_SECOND * block_s(resources)}


def predict(audio_s: float, measured: Measured, resources: Resources, cores: float, gpus: float) -> Prediction:
    """A whole command's seconds for `audio_s` of audio. `cores`: those that a run gets, other processes left aside."""
    allowed = limits(measured, resources, cores, gpus)
    bottleneck = min(allowed, key=lambda name: allowed[name])
    pools = {stage: measured.of(stage, pool.threads) for stage, pool in resources.pools.items()}
    beside = [cost.wall_s for stage, cost in pools.items() if stage != bottleneck] + [measured.of("read").wall_s]
    drain = min(block_s(resources), audio_s) * sum(beside)
    rate, start = allowed[bottleneck], RAY_S / measured.share_of_cores + measured.start_s
    return Prediction(audio_s, start + audio_s / rate + drain, rate, bottleneck, allowed)


@dataclass(frozen=True)
class Fleet:
    """`audio_s` on a number of GPUs."""

    gpus: int
    rate: float  # times real time
    hours: float
    cores: float | None  # that must read and write beside the GPUs; None: not measured
    limited: bool  # by the driver


def fleet(audio_s: float, gpus: int, each: float, measured: Measured | None, resources: Resources) -> Fleet:
    """GPUs that do `each` times real time, as far as one driver feeds them, and the cores that they need. `resources`
    may be of a machine without a GPU: its default block is no block of GPUs, which have the largest where memory allows
    it."""
    on_cpu = resources.device == "cpu" and resources.block_bytes == CPU_BLOCK_MB * 2**20
    block = GPU_BLOCK_MB[1] * 2**20 / BYTES_A_SECOND if on_cpu else block_s(resources)
    driver = BLOCKS_A_SECOND * block
    rate = min(gpus * each, driver)
    cores = None
    if measured is not None:
        stages = ("read", "write", *(resources.pools if measured.device == "cuda" else ()))
        cores = rate * sum(measured.of(stage).cpu_s for stage in stages)
    return Fleet(gpus, rate, audio_s / rate / 3600, cores, limited=driver < gpus * each)


def speed_of_a_gpu(measured: Measured, resources: Resources) -> float | None:
    """Times real time of one GPU with all pools on it; None where none was measured."""
    if measured.device != "cuda":
        return None
    return 1 / sum(measured.of(stage).wall_s for stage in resources.pools)
