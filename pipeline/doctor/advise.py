"""What stages cost on this machine -> the settings with which a run here is fastest."""

from collections.abc import Iterator

from pipeline.cluster.resources import ACTOR_BYTES, MOST_THREADS, Resources, allot
from pipeline.doctor.cost import Measured
from pipeline.doctor.predict import Prediction, predict
from pipeline.errors import DeviceError, plural
from pipeline.settings import Settings

WORTH = 1.1
"""Times faster than as it is set: less is within what measurements differ."""

HOUR_S = 3600.0


def config_file(resources: Resources, on_cluster: bool) -> str:
    """The file in configs/ that is written for such a machine."""
    name = "cluster" if on_cluster else "one_gpu" if resources.device == "cuda" else "laptop"
    return f"configs/{name}.yaml"


def thread_counts(resources: Resources, cores: float) -> dict[str, list[int | None]]:
    """For each pool the numbers of threads to measure: as it is set; on a CPU also every core, and MOST_THREADS."""
    if resources.device == "cuda":
        return {stage: [pool.threads] for stage, pool in resources.pools.items()}
    other = [max(1, int(cores)), *([MOST_THREADS] if cores > MOST_THREADS else [])]
    return {stage: list(dict.fromkeys([pool.threads, *other])) for stage, pool in resources.pools.items()}


def best_settings(
    settings: Settings, cluster: dict[str, float], measured: Measured, cores: float, free_bytes: int | None
) -> tuple[dict[str, int], Prediction] | None:
    """Settings of the pools that make a run on the CPU faster by WORTH than `settings`, and what they give; None where
    there are none, and on GPUs, where pools are not chosen by cores."""
    stages = settings.stages
    now = allot(settings, cluster, stages)
    if now.device != "cpu":
        return None
    before = predict(HOUR_S, measured, now, cores, 0.0)
    found: list[tuple[dict[str, int], Prediction]] = []
    for more in _candidates(measured, stages, cores, free_bytes):
        try:
            resources = allot(_with(settings, more), cluster, stages)
        except DeviceError:  # such pools would leave no CPU to read with
            continue
        changed = {key: value for key, value in more.items() if value != _planned(now, key)}
        found.append((changed, predict(HOUR_S, measured, resources, cores, 0.0)))
    best = max(found, key=_worth, default=None)
    return best if best and best[1].rate >= WORTH * before.rate else None


def _candidates(
    measured: Measured, stages: tuple[str, ...], cores: float, free_bytes: int | None
) -> Iterator[dict[str, int]]:
    """Threads and actors of each pool, of all combinations that were measured and fit into memory."""
    options: list[dict[str, int]] = [{}]
    for stage in stages:
        threads = [one.threads for one in measured.costs if one.stage == stage]
        options = [
            {**before, f"{stage}.threads": number, f"{stage}.actors": actors}
            for before in options
            for number in threads
            for actors in sorted({1, max(1, int(cores) // number)})
        ]
    for option in options:
        actors = sum(value for key, value in option.items() if key.endswith(".actors"))
        if free_bytes is None or actors <= len(stages) or actors * ACTOR_BYTES <= free_bytes:
            yield option


def _worth(found: tuple[dict[str, int], Prediction]) -> tuple[float, int, int]:
    """Speed first, then few changes, then few actors, each of which has weights of its own."""
    changed, prediction = found
    actors = sum(value for key, value in changed.items() if key.endswith(".actors"))
    return round(prediction.rate, 2), -len(changed), -actors


def _with(settings: Settings, more: dict[str, int]) -> Settings:
    """`settings` with others by dotted key."""
    for key, value in more.items():
        stage, _, name = key.partition(".")
        settings = settings.model_copy(update={stage: getattr(settings, stage).model_copy(update={name: value})})
    return settings


def _planned(resources: Resources, key: str) -> int | None:
    stage, _, name = key.partition(".")
    return getattr(resources.pools[stage], name)


def plan_text(resources: Resources) -> str:
    """What each pool gets, in a line."""
    place = {"cuda": "GPU", "cpu": "CPU"}[resources.device]
    pools = [
        f"{stage} {pool.actors} x "
        + (f"{pool.gpus:g} GPU" if pool.gpus else plural(pool.threads or 1, "thread"))
        + (f" (up to {pool.most})" if pool.most > pool.actors else "")
        for stage, pool in resources.pools.items()
    ]
    block = f"blocks of {resources.block_bytes / 2**20:g} MiB"
    return f"{place}, {resources.precision}: {plural(resources.readers, 'reader')}, {', '.join(pools)}, {block}"
