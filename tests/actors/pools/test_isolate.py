"""One bad item fails alone, whether it raises or ends the process."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from actors.pools.isolate import DIED, MAX_DEATHS, Ledger, isolate
from actors.watchdog import EXIT_CODE
from pipeline.errors import KillsItsActor, NonFiniteAudio

ITEMS = [np.full(3, value, np.float32) for value in range(5)]
KEYS = [f"item {value}" for value in range(5)]


class Death(BaseException):
    """Simulates the death of the process: nothing may catch it."""


def double(items: list[np.ndarray]) -> list[np.ndarray]:
    return [2 * item for item in items]


def test_all_in_one_call_where_nothing_is_wrong() -> None:
    calls: list[int] = []
    ledger = Ledger()
    results, failures = isolate(lambda items: calls.append(len(items)) or double(items), ITEMS, KEYS, ledger)
    assert (calls, failures, ledger.begun) == ([5], {}, {})
    assert np.array_equal(np.stack(results), 2 * np.stack(ITEMS))


def test_an_item_that_raises_fails_alone() -> None:
    def call(items: list[np.ndarray]) -> list[np.ndarray]:
        if any(item[0] == 3 for item in items):
            raise NonFiniteAudio("three")
        return double(items)

    results, failures = isolate(call, ITEMS, KEYS, Ledger())
    assert [result is None for result in results] == [False, False, False, True, False]
    assert str(failures[3]) == "three"


@pytest.mark.parametrize("poison", [{0}, {3}, {1, 4}])
def test_an_item_that_ends_the_process_fails_alone(poison: set[int]) -> None:
    def call(items: list[np.ndarray]) -> list[np.ndarray]:
        if any(int(item[0]) in poison for item in items):
            raise Death
        return double(items)

    ledger, deaths = Ledger(), 0
    while True:  # Ray gives the same block to the next process
        try:
            results, failures = isolate(call, ITEMS, KEYS, ledger)
            break
        except Death:
            deaths += 1
    assert deaths == 1 + MAX_DEATHS * len(poison)
    assert failures.keys() == poison
    assert all(isinstance(error, KillsItsActor) for error in failures.values())
    assert [index for index, result in enumerate(results) if result is None] == sorted(poison)
    assert ledger.begun == {}


def test_one_death_may_be_bad_luck() -> None:
    ledger = Ledger()
    ledger.begin("item 2")
    results, failures = isolate(double, ITEMS, KEYS, ledger)
    assert failures == {}
    assert len(results) == 5


BREAKS = """
import os, sys
import numpy as np, torch
from actors.pools.isolate import Ledger, isolate

class Told(Ledger):
    def note(self, key, how):
        print(key, how, flush=True)

def call(items):
    raise error

for error in (
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    torch.AcceleratorError("CUDA error: device-side assert triggered\\nCUDA kernel errors might be"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
):
    if not (child := os.fork()):
        isolate(call, [np.zeros(1)], ["one"], Told())
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_broken_device_ends_its_process() -> None:
    code = [sys.executable, "-c", BREAKS]
    done = subprocess.run(code, capture_output=True, text=True, timeout=100, check=True)
    said, codes = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert codes == [str(EXIT_CODE)] * 6
    assert len([line for line in said if "its device is broken: " in line]) == 6


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError("shape mismatch")])
def test_other_errors_of_the_engine_are_raised(error: RuntimeError) -> None:
    def call(items: list[np.ndarray]) -> list[np.ndarray]:
        raise error

    with pytest.raises(RuntimeError, match=str(error)):
        isolate(call, ITEMS, KEYS, Ledger())


def test_what_a_process_said_before_its_end_is_in_the_message() -> None:
    ledger = Ledger()
    for how in (DIED, "silent for 9 s"):
        ledger.begin(KEYS[2])
        ledger.note(KEYS[2], how)
    ledger.begin(hashlib.sha256("\0".join(KEYS).encode()).hexdigest())
    _, failures = isolate(double, ITEMS, KEYS, ledger)
    assert failures.keys() == {2}
    assert f"ended early: {DIED}, silent for 9 s" in str(failures[2])
