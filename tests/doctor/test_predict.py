"""Predictions and advice, from costs as they would be measured."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cluster.resources import Resources, allot
from pipeline.doctor.advise import best_settings, config_file, plan_text, thread_counts
from pipeline.doctor.cost import Cost, Measured
from pipeline.doctor.predict import RAY_S, fleet, limits, predict, speed_of_a_gpu
from pipeline.doctor.report import MOST, Wanted, report
from pipeline.errors import SettingsError
from pipeline.settings import Settings, load_settings

BOTH = ("encode", "decode")


def measured(device: str = "cpu", **costs: tuple[float, float]) -> Measured:
    """Of each stage wall and CPU seconds; `decode_2`: with two threads."""
    found = [Cost(name.partition("_")[0], int(name.partition("_")[2] or 1), *cost) for name, cost in costs.items()]
    return Measured("small", device, "fp32", 5.0, found, 0.1)


SLOW = measured(
    read=(0.001, 0.001),
    encode=(0.1, 0.1),
    encode_2=(0.05, 0.1),
    decode=(1.0, 1.0),
    decode_2=(0.5, 1.0),
    write=(0.002, 0.001),
)
GPU = measured("cuda", read=(0.004, 0.004), encode=(0.001, 0.0005), decode=(0.003, 0.0005), write=(0.001, 0.001))


ONE_EACH = load_settings(None, {"encode.threads": 1, "decode.threads": 1})


def laptop(settings: Settings | None = None) -> Resources:
    return allot(settings or Settings(), {"CPU": 2.0}, BOTH)


def test_the_slowest_stage_is_the_bottleneck() -> None:
    found = predict(3600.0, SLOW, laptop(ONE_EACH), 2.0, 0.0)
    assert (found.bottleneck, found.rate) == ("decode", pytest.approx(1.0))
    assert found.seconds == pytest.approx(RAY_S + 5 + 3600 + laptop().block_bytes / 96_000 * 0.101)
    assert predict(0.0, SLOW, laptop(ONE_EACH), 2.0, 0.0).seconds == pytest.approx(RAY_S + 5)


def test_stages_share_the_cores() -> None:
    found = limits(SLOW, laptop(), 1.0, 0.0)
    assert found["cores"] == pytest.approx(1 / 1.102)
    assert predict(3600.0, SLOW, laptop(), 1.0, 0.0).bottleneck == "cores"
    codes = allot(load_settings(None, {"reconstruct": False}), {"CPU": 2.0}, ("encode",))
    assert limits(SLOW, codes, 2.0, 0.0)["encode"] == pytest.approx(20)  # two threads
    assert "decode" not in limits(SLOW, codes, 2.0, 0.0)


def test_pools_share_the_gpus() -> None:
    resources = allot(Settings(), {"CPU": 4.0, "GPU": 2.0}, BOTH)
    found = limits(GPU, resources, 4.0, 2.0)
    assert found["GPUs"] == pytest.approx(2 / 0.004)
    assert found["decode"] == pytest.approx(2 / 0.003)
    assert found["read"] == pytest.approx(4 / 0.004)
    assert predict(3600, GPU, resources, 4.0, 2.0).bottleneck == "GPUs"
    assert speed_of_a_gpu(GPU, resources) == pytest.approx(250)
    assert speed_of_a_gpu(SLOW, laptop()) is None


def test_a_fleet_of_gpus() -> None:
    resources = allot(Settings(), {"CPU": 4.0, "GPU": 1.0}, BOTH)
    eight = fleet(1e6 * 3600, 8, 250, GPU, resources)
    assert (eight.rate, eight.hours) == (2000, pytest.approx(500))
    assert eight.cores == pytest.approx(2000 * 0.006)
    assert fleet(1e6 * 3600, 1000, 250, GPU, resources).rate == pytest.approx(60 * resources.block_bytes / 96_000)
    on_laptop = [fleet(1e6 * 3600, gpus, 1000, None, laptop()) for gpus in (8, 64, 1000)]
    assert [(one.rate, one.limited) for one in on_laptop[:2]] == [(8000, False), (64_000, False)]
    assert (on_laptop[2].rate, on_laptop[2].limited) == (pytest.approx(167_772, rel=1e-5), True)
    small = allot(load_settings(None, {"chunk.block_mb": 1}), {"CPU": 2.0}, BOTH)
    assert fleet(3600, 8, 1000, None, small).rate == pytest.approx(60 * 2**20 / 96_000)
    assert fleet(1e6 * 3600, 8, 250, SLOW, laptop()).cores == pytest.approx(2000 * 0.002)  # the CPU's pools aside


def test_better_settings() -> None:
    found = best_settings(ONE_EACH, {"CPU": 2.0}, SLOW, 2.0, None)
    assert found is not None
    assert found[0] == {"decode.threads": 2}
    assert found[1].rate == pytest.approx(2 / 1.102)
    assert best_settings(Settings(), {"CPU": 2.0}, SLOW, 2.0, None) is None
    assert best_settings(Settings(), {"CPU": 4.0, "GPU": 1.0}, GPU, 4.0, None) is None


def test_many_actors_where_threads_do_not_help() -> None:
    flat = measured(
        read=(0.001, 0.001), encode=(0.02, 0.02), encode_16=(0.02, 0.02), encode_8=(0.02, 0.02), write=(0.001, 0.001)
    )
    settings = load_settings(None, {"reconstruct": False})
    found = best_settings(settings, {"CPU": 16.0}, flat, 16.0, None)
    assert found is not None
    assert found[0]["encode.actors"] == 16
    assert best_settings(settings, {"CPU": 16.0}, flat, 16.0, 10) is None  # no memory for a second one


def test_what_is_measured_and_said() -> None:
    assert thread_counts(laptop(ONE_EACH), 2.0) == {"encode": [1, 2], "decode": [1, 2]}
    assert thread_counts(laptop(), 64.0)["decode"] == [2, 64, 8]
    assert plan_text(laptop()) == ("CPU, fp32: 1 reader, encode 1 x 1 thread, decode 1 x 2 threads, blocks of 4 MiB")
    gpus = allot(load_settings(None, {"encode.max_actors": 4}), {"CPU": 4.0, "GPU": 1.0}, ("encode",))
    assert "encode 1 x 1 GPU (up to 4)" in plan_text(gpus)
    assert [config_file(laptop(), False), config_file(gpus, False), config_file(gpus, True)] == [
        "configs/laptop.yaml",
        "configs/one_gpu.yaml",
        "configs/cluster.yaml",
    ]


def test_share_of_the_cores() -> None:
    assert SLOW.share_of_cores == 1
    assert measured(read=(0.1, 0.05), encode=(0.1, 0.03), write=(1.0, 0.0)).share_of_cores == pytest.approx(0.5)


@pytest.mark.parametrize(("name", "option"), [("hours", "hours"), ("seconds", "seconds"), ("gpu_speed", "gpu-speed")])
@pytest.mark.parametrize("value", [math.inf, math.nan, 2 * MOST])
def test_numbers_that_json_has_not_are_refused(name: str, option: str, value: float) -> None:
    wanted = replace(Wanted(Path("clips"), ".", 0.0, 1.0, 1, 1.0), **{name: value})
    with pytest.raises(SettingsError, match=rf"^--{option} is {value:g}".replace("+", r"\+") + "; expected a number"):
        report(Settings(), wanted, print)
