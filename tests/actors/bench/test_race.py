"""Beside upstream: what cannot run is left out and said."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actors.bench.limits import flops, product_rate, timed
from actors.bench.peak import peak_in_own_process
from actors.bench.race import race
from actors.bench.tables import table
from actors.bench.variants import CLIP_BY_CLIP, IN_LISTS, Variant, all_variants, in_lists


@pytest.mark.slow
def test_peak_of_a_process_of_its_own(small_model: Path) -> None:
    codes = np.zeros((5, 16), np.int16)
    peak = peak_in_own_process(small_model, "decode", "voxmill, fp32", [codes])
    assert 100e6 < peak < 4e9


def test_lists_of_a_size() -> None:
    sizes: list[int] = []
    call = in_lists(lambda items: sizes.append(len(items)) or items, 2)
    assert call([1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]  # type: ignore[list-item]
    assert sizes == [2, 2, 1]


def test_what_cannot_run_is_left_out_and_said() -> None:
    codes = np.zeros((4, 16), np.int16)

    def refuse(items: list[np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("no compiler found\nmore")

    def encode(items: list[np.ndarray]) -> list[np.ndarray]:
        torch.ones(8, 8) @ torch.ones(8, 8)
        return [codes]

    variants = [Variant(CLIP_BY_CLIP, "fp32", encode, encode), Variant("voxmill, fp32", "fp32", refuse, refuse)]
    left_out: dict[str, str] = {}
    wave = np.zeros(4 * 1920, np.float32)
    rows = race(variants, "encode", ([wave], [codes]), (torch.device("cpu"), 1), left_out)
    assert list(rows) == [CLIP_BY_CLIP]
    assert left_out == {"encode: voxmill, fp32": "RuntimeError: no compiler found"}
    found = {"figures": {"encode": rows}, "left_out": left_out}
    printed = table({"gates": [], "steps": {"beside upstream": found}, "seconds": {"beside upstream": 1}, "errors": {}})
    assert "Left out: encode: voxmill, fp32: RuntimeError: no compiler found" in printed


def test_lists_that_would_not_fit_into_memory_are_left_out(small_model: Path) -> None:
    hours = 24_000 * 3600 * 1000
    variants, left_out = all_variants(small_model, torch.device("cpu"), [], hours)
    assert [one.name for one in variants] == [CLIP_BY_CLIP]
    assert "GiB are free" in left_out[IN_LISTS]


def test_limits() -> None:
    left = torch.ones(8, 16)
    assert flops(lambda: left @ left.T) == 2 * 8 * 16 * 8
    assert timed(torch.device("cpu"), lambda: None) < 1
    assert product_rate(torch.device("cpu"), torch.float32) > 1e8
