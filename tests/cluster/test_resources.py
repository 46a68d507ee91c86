"""What the pools get, and what is refused because it would hang."""

from typing import Any

import pytest

from pipeline.cluster import resources
from pipeline.cluster.resources import allot, fitted, local_cpus
from pipeline.errors import DeviceError
from pipeline.settings import load_settings

BOTH = ("encode", "decode")


def settings(**values: Any) -> Any:
    return load_settings(None, {key.replace("__", "."): value for key, value in values.items()})


def test_a_laptop_gets_one_actor_each_and_a_reader() -> None:
    resources = allot(settings(), {"CPU": 2.0}, BOTH)
    assert (resources.device, resources.precision, resources.readers) == ("cpu", "fp32", 1)
    assert [(pool.actors, pool.gpus) for pool in resources.pools.values()] == [(1, 0.0), (1, 0.0)]


@pytest.mark.parametrize(
    ("cores", "encode", "decode", "alone"),
    [
        (2, (1, 1), (1, 2), (1, 2)),
        (4, (1, 1), (1, 4), (1, 4)),
        (8, (1, 1), (1, 8), (1, 8)),
        (12, (1, 2), (1, 8), (1, 8)),
        (16, (1, 2), (2, 8), (2, 8)),
        (64, (1, 6), (8, 8), (8, 8)),
    ],
)
def test_decoding_may_use_all_cores_and_encoding_keeps_up(cores: int, encode: Any, decode: Any, alone: Any) -> None:
    both = allot(settings(), {"CPU": float(cores)}, BOTH).pools
    assert {stage: (pool.actors, pool.threads) for stage, pool in both.items()} == {"encode": encode, "decode": decode}
    (pool,) = allot(settings(), {"CPU": float(cores)}, ("encode",)).pools.values()
    assert (pool.actors, pool.threads) == alone


def test_threads_of_actors_that_are_given() -> None:
    pools = allot(settings(decode__actors=2, encode__threads=3), {"CPU": 8.0}, BOTH).pools
    assert [(pool.actors, pool.threads) for pool in pools.values()] == [(1, 3), (2, 4)]


def test_actors_fit_into_memory() -> None:
    pools = allot(settings(), {"CPU": 64.0, "memory": 13.0 * 2**30}, BOTH).pools
    assert [(pool.actors, pool.threads) for pool in pools.values()] == [(1, 6), (3, 8)]
    assert allot(settings(), {"CPU": 64.0, "memory": 1.0}, BOTH).pools["decode"].actors == 1


def test_every_gpu_gets_an_actor_of_each_pool() -> None:
    resources = allot(settings(), {"CPU": 32.0, "GPU": 4.0}, BOTH)
    assert (resources.device, resources.precision, resources.readers) == ("cuda", "fp16", 32)
    assert [(pool.actors, pool.gpus, pool.cpus) for pool in resources.pools.values()] == [(4, 0.5, 0.0), (4, 0.5, 0.0)]
    assert allot(settings(), {"CPU": 32.0, "GPU": 4.0}, ("encode",)).pools["encode"].gpus == 1.0


@pytest.mark.parametrize(
    ("store_gb", "memory_gb", "expected_mb"),
    [
        (0, 0, 32),  # what the blocks are where Ray does not say
        (2, 100, 32),
        (10, 100, 64),  # 2 * 32 and 4 * 4 blocks in half of it
        (100, 10, 64),
        (100, 100, 256),
    ],
)
def test_gpu_blocks_are_as_large_as_memory_allows(store_gb: int, memory_gb: int, expected_mb: int) -> None:
    nodes = {"CPU": 32.0, "GPU": 4.0, "object_store_memory": store_gb * 2.0**30, "memory": memory_gb * 2.0**30}
    assert round(allot(settings(), nodes, ("encode",)).block_bytes / 2**20) == expected_mb
    assert allot(settings(chunk__block_mb=5), nodes, ("encode",)).block_bytes == 5 * 2**20
    assert allot(settings(device="cpu"), nodes, ("encode",)).block_bytes == 4 * 2**20


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (4, 4, 4)),
        ({"encode__max_actors": 100}, (4, 1, 100)),
        ({"encode__max_actors": 3}, (3, 1, 3)),
        ({"encode__min_actors": 2}, (4, 2, 4)),
        ({"encode__actors": 2, "encode__max_actors": 9}, (2, 1, 9)),
        ({"encode__actors": 2}, (2, 2, 2)),
    ],
)
def test_an_elastic_pool_starts_full(values: dict[str, Any], expected: tuple[int, int, int]) -> None:
    pool = allot(settings(**values), {"CPU": 32.0, "GPU": 4.0}, ("encode",)).pools["encode"]
    assert (pool.actors, pool.least, pool.most) == expected
    strategy = pool.arguments()["compute"]
    assert (strategy.initial_size, strategy.min_size, strategy.max_size) == expected


@pytest.mark.parametrize(("cluster", "calls"), [({"CPU": 4.0}, 1), ({"CPU": 4.0, "GPU": 1.0}, 2)])
def test_a_gpu_computes_while_blocks_of_another_call_are_moved(cluster: dict[str, float], calls: int) -> None:
    strategy = allot(settings(), cluster, BOTH).pools["encode"].arguments()["compute"]
    assert strategy.max_concurrent_calls_per_actor == calls
    assert not strategy.enable_true_multi_threading  # the pool's own code, and the ledger, know one call at a time
    assert strategy.max_tasks_in_flight_per_actor / calls > 1.75  # else Ray never grows the pool


def test_gpu_nodes_that_come_on_demand_are_waited_for() -> None:
    values = {"device": "cuda", "encode__max_actors": 8, "decode__max_actors": 8}
    resources = allot(settings(**values), {"CPU": 4.0}, BOTH)
    assert (resources.device, resources.precision) == ("cuda", "fp16")
    pools = [(pool.actors, pool.least, pool.most, pool.gpus) for pool in resources.pools.values()]
    assert pools == [(1, 1, 8, 0.5)] * 2
    with pytest.raises(DeviceError, match=r"set encode.max_actors and decode.max_actors"):
        allot(settings(**values | {"decode__max_actors": None}), {"CPU": 4.0}, BOTH)
    with pytest.raises(DeviceError, match="need"):
        allot(settings(**values | {"device": "auto", "encode__min_actors": 4}), {"CPU": 4.0, "GPU": 1.0}, BOTH)


def test_an_elastic_pool_reserves_no_cpu() -> None:
    assert allot(settings(encode__max_actors=3), {"CPU": 4.0}, BOTH).pools["encode"].cpus == 0.0
    assert allot(settings(), {"CPU": 4.0}, BOTH).pools["encode"].cpus == 0.25


@pytest.mark.parametrize(
    ("values", "cluster", "says"),
    [
        ({"device": "cuda"}, {"CPU": 4.0}, "Ray sees no GPU"),
        ({"precision": "fp16"}, {"CPU": 4.0}, "fp16"),
        ({"encode__actors": 3, "encode__gpus": 1}, {"CPU": 4.0, "GPU": 2.0}, "need 4 GPUs, Ray has 2"),
        ({"encode__min_actors": 3, "encode__max_actors": 9}, {"CPU": 4.0, "GPU": 2.0}, "need 2.5 GPUs, Ray has 2"),
        ({"encode__max_actors": 3, "encode__cpus": 0.5}, {"CPU": 8.0}, "Set encode.cpus"),
        ({"encode__actors": 2, "encode__cpus": 1}, {"CPU": 2.0}, "leave none to read with"),
        ({}, {"CPU": 1.0}, "leave none to read with"),
        ({"device": "cuda", "encode__max_actors": 9, "decode__max_actors": 9}, {}, "once `ray status` shows them"),
    ],
)
def test_what_would_hang_is_refused(values: dict[str, Any], cluster: dict[str, float], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        allot(settings(**values), cluster, BOTH)


@pytest.mark.parametrize(
    ("values", "gpus", "left", "expected"),
    [
        ({}, 2, 1, {"encode": (1, 1, 2), "decode": (1, 1, 2)}),  # not two decoders and no encoder
        ({}, 8, 7, {"encode": (7, 7, 8), "decode": (7, 7, 8)}),
        ({}, 8, 8, {"encode": (8, 8, 8), "decode": (8, 8, 8)}),
        ({"reconstruct": False}, 4, 1, {"encode": (1, 1, 4)}),
        (
            {"encode.actors": 1, "decode.actors": 6, "encode.gpus": 1, "decode.gpus": 1},
            7,
            3,
            {"encode": (1, 1, 1), "decode": (2, 2, 6)},
        ),
        ({"encode.max_actors": 9, "decode.max_actors": 9}, 2, 1, {"encode": (1, 1, 9), "decode": (1, 1, 9)}),
        ({}, 2, 0, {"encode": (1, 1, 2), "decode": (1, 1, 2)}),  # those that come
    ],
)
def test_pools_on_the_gpus_that_are_left(
    values: dict[str, Any], gpus: int, left: int, expected: dict[str, tuple[int, int, int]]
) -> None:
    chosen = settings(device="cuda", **values)
    before = allot(chosen, {"CPU": 16.0, "GPU": float(gpus)}, chosen.stages)
    after = fitted(before, float(left))
    assert {name: (pool.actors, pool.least, pool.most) for name, pool in after.pools.items()} == expected
    assert after.block_bytes == before.block_bytes


@pytest.mark.parametrize(("usable", "counted"), [(0.5, 2), (2.0, 2), (3.7, 3), (128.0, 128)])
def test_a_local_ray_counts_the_cores_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, usable: float, counted: int
) -> None:
    monkeypatch.setattr(resources, "usable_cores", lambda: usable)
    assert local_cpus() == counted
