"""The forms that layers take on CUDA, run on a CPU: the same numbers as the forms for a CPU, alone and in pieces."""

from pathlib import Path
from typing import Any

import pytest
import torch

from actors.network import layers
from actors.tiling.stack import Carried
from tests.helpers.engine import decoder_of, encoder_of


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("pieces", [[7], [1, 2, 1, 3]])
def test_both_stacks_compute_the_same_in_the_forms_for_cuda(
    small_model: Path, monkeypatch: pytest.MonkeyPatch, half: str, pieces: list[int]
) -> None:
    of = encoder_of if half == "encoder" else decoder_of
    usual = of(small_model)
    monkeypatch.setattr(layers, "is_on_cuda", lambda weight: True)
    there = of(small_model)
    generator = torch.Generator().manual_seed(0)
    rows = 0.1 * torch.randn(2, sum(pieces), usual.row, generator=generator)
    expected = usual.convolutions(rows)
    carried: Carried = {}
    found = torch.cat([there.convolutions(piece, carried) for piece in rows.split(pieces, 1)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_on_cuda_convolutions_add_no_bias(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a pass over memory of its own: activations add it."""
    monkeypatch.setattr(layers, "is_on_cuda", lambda weight: True)
    blocks, stages = decoder_of(small_model).convolutions.blocks, encoder_of(small_model).convolutions.stages
    units = [unit for one in (*blocks, *stages) for unit in one.units]
    deferring = [*units, *[unit.inner for unit in units], *[block.up for block in blocks]]
    assert all(layer.deferred is not None and layer.deferred.any() for layer in deferring)
    assert {unit.inner.phases for unit in units} == {1, 3, 9}


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_no_layer_is_given_what_nobody_wrote(small_model: Path, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    """Some kernels mix all steps of an image, also those of which no result is kept."""
    monkeypatch.setattr(layers, "is_on_cuda", lambda weight: True)
    stack = (encoder_of if half == "encoder" else decoder_of)(small_model)
    given: list[bool] = []
    call = layers.extend

    def extended(layer: layers.Conv, x: torch.Tensor, *others: Any) -> torch.Tensor:
        out = call(layer, x, *others)
        given.append(bool(out.isfinite().all()))
        return out

    monkeypatch.setattr(layers, "extend", extended)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        assert torch.empty(3).isnan().all()
        stack.convolutions(0.1 * torch.ones(1, 3, stack.row), {})
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(given) > 5
    assert all(given)
