"""Steps of the plan can tell good from bad: each is given what it must notice."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from actors.bench import out_of_memory as memory_step
from actors.bench.audio import fresh_clips
from actors.bench.busy import covered, profiled
from actors.bench.correctness import in_other_company
from actors.bench.out_of_memory import out_of_memory
from actors.bench.reader import enough, fed
from actors.bench.speed import row
from actors.bench.subject import ON_CPU, Subject, keep
from actors.bench.trace import traced
from actors.errors import DeviceError

CPU = torch.device("cpu")


class Sociable:
    """Codes that depend on how many clips a call has."""

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        return [np.full((4, 16), len(waves) + int(wave[0] == waves[0][0]), np.int16) for wave in waves]


def test_company_that_changes_codes_is_noticed() -> None:
    waves = [np.full(7680, level, np.float32) for level in range(5)]
    subject: Any = SimpleNamespace(load=lambda precision, **options: Sociable())
    found = in_other_company(subject, "fp32", waves, 2)
    assert found["again"] == 1
    assert found["in_another_order"] < 1
    assert found["alone"] < 1


def test_memory_that_runs_out_is_measured(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own recovery, where a batch of more than one tile does not fit."""
    subject = Subject(small_model, CPU, ("fp32",))
    codec = subject.load("fp32", parts="encode", tile_batch=4)
    assert codec.encoding is not None
    tiled = codec.encoding[1]
    stack, full = tiled.stack, [False]

    def runs_out(rows: torch.Tensor, carried: Any = None) -> torch.Tensor:
        if full[0] and len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return stack(rows, carried)

    @contextlib.contextmanager
    def limited(device: torch.device, used: dict[str, int]) -> Iterator[None]:
        full[0] = True
        yield
        full[0] = False

    tiled.stack = runs_out
    monkeypatch.setattr(memory_step, "limited", limited)
    monkeypatch.setattr(Subject, "load", lambda self, *options, **more: codec)
    found = out_of_memory(subject, ON_CPU._replace(batches=(4,), compared_s=4))
    assert (found["tiles_before"], found["tiles_after"]) == (4, 1)
    assert found["equal"] >= 0.999
    assert found["equal_after"] >= 0.999


def test_a_machine_that_is_slow_for_one_visit_changes_no_figure() -> None:
    slow = {"load_s": 0.1, "first_call_s": 2.0, "fresh": [5.0, 6.0], "again": [7.0, 7.0]}
    usual = {"load_s": 0.2, "first_call_s": 0.1, "fresh": [90.0, 100.0, 110.0], "again": [100.0, 100.0, 100.0]}
    found = row([slow, usual])
    assert (found["times_real"], found["again"], found["fresh_to_again"]) == (90.0, 100.0, 0.9)
    assert (found["load_s"], found["first_call_s"]) == (0.1, 2.0)


def test_what_cannot_run_is_noted_and_a_mistake_is_not_hidden() -> None:
    figures: dict[str, Any] = {}
    left_out: dict[str, str] = {}

    def refuse(error: Exception) -> dict[str, Any]:
        raise error

    keep(figures, "good", left_out, lambda: {"equal": 1})
    keep(figures, "bad", left_out, lambda: refuse(DeviceError("no graphs")))
    keep(figures, "worse", left_out, lambda: refuse(torch.OutOfMemoryError("full")))
    assert figures == {"good": {"equal": 1}}
    assert left_out == {"bad": "DeviceError: no graphs", "worse": "OutOfMemoryError: full"}
    with pytest.raises(KeyError):
        keep(figures, "mistake", left_out, lambda: refuse(KeyError("typo")))


def test_spans_that_overlap_count_once() -> None:
    assert covered([]) == 0
    assert covered([(5, 7), (0, 2), (1, 3), (1, 2)]) == 5


def test_a_profile_names_what_takes_longest() -> None:
    left = torch.ones(900, 900)
    found = profiled(CPU, lambda: (left[:9, :9].relu(), left @ left @ left), 1.0)
    assert next(iter(found["kernels"])) == "aten::mm"
    assert "aten::relu" in found["kernels"]
    assert found["on_device_s"] > 0
    assert "launches_per_s" not in found


def test_a_trace_counts_bytes() -> None:
    left = torch.ones(10, 20)
    launched = traced(lambda: left.T.relu())
    assert [one.moved for one in launched] == [2 * 4 * 200]
    assert traced(lambda: left.relu(), "cuda") == []
    copied = traced(lambda: torch._foreach_copy_([left, left.clone()], [left + 1, left + 2]))  # it returns nothing
    assert [(one.name, one.moved) for one in copied][-1] == ("_foreach_copy_.default", 4 * left.numel() * 4)


def test_a_slow_reader_is_what_bounds_the_speed() -> None:
    blocks = [[np.zeros(24_000, np.float32)]] * 4
    slow = fed(lambda block: None, blocks, 5.0)
    fast = fed(lambda block: time.sleep(0.02), blocks, float("inf"))
    assert slow < 8 < fast <= 50


def test_the_least_rate_that_is_enough() -> None:
    assert enough({5.0: 5.0, 9.6: 9.5, 12.0: 10.0}, 10.0) == 9.6
    assert enough({5.0: 5.0}, 10.0) is None


def test_clips_of_a_call_differ_from_those_of_the_next() -> None:
    lengths = [{len(wave) for wave in fresh_clips(ON_CPU.call_s[0], seed, ON_CPU.longest_s)} for seed in range(4)]
    assert all(not one & other for index, one in enumerate(lengths) for other in lengths[:index])
