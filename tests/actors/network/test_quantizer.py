"""Nearest codewords in fp32, and the tables that take codes back to latents."""

from pathlib import Path

import pytest
import torch

from actors.network.quantizer import Quantizer, Residual, codebook, dequantizer, quantizer
from actors.network.rows import product
from actors.qwen import load_network
from actors.read_config import read_config
from tests.helpers.engine import weights_of


def quantizer_of(folder: Path, dtype: torch.dtype = torch.float32) -> Quantizer:
    return quantizer(weights_of(folder, "encoder", dtype).at("quantizer"), read_config(folder).encoder, 16)


def test_codes_are_upstreams(small_model: Path) -> None:
    module = load_network(small_model).encoder.quantizer
    latents = 3 * torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = module.encode(latents.T[None], 16)[:, 0].T
        codes = quantizer_of(small_model).encode(latents)
    assert codes.dtype == torch.int16
    assert codes.shape == (500, 16)
    assert (codes == expected).float().mean() >= 0.999


def test_only_the_wanted_codebooks_are_kept(small_model: Path) -> None:
    made = quantizer_of(small_model)
    assert [len(chain.entries) for chain in made.chains] == [1, 15]


def test_nearest_is_by_distance_and_the_first_of_equals() -> None:
    entries = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    chain = Residual(None, [entries], [product(-2 * entries, entries.square().sum(1))])
    points = torch.tensor([[1.4, 0.0], [1.6, 0.0], [9.0, 1.0], [1.0, 3.0], [0.0, 2.0]])
    assert chain.nearest(points)[0].tolist() == [0, 1, 1, 3, 0]


def test_half_precision_latents_are_quantized_in_fp32(small_model: Path) -> None:
    made = quantizer_of(small_model)
    latents = torch.randn(50, 64).bfloat16()
    assert torch.equal(made.encode(latents), made.encode(latents.float()))


def test_a_cpu_touches_no_flags_of_cuda(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the process's: a codec on a GPU may be in the middle of a call."""

    def touched() -> None:
        raise AssertionError("flags of CUDA are set")

    monkeypatch.setattr("actors.network.quantizer.exact", touched)
    assert quantizer_of(small_model).encode(torch.zeros(3, 64)).shape == (3, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codebooks_are_made_in_fp32(dtype: torch.dtype) -> None:
    total, usage = torch.tensor([[1.0, 2.0], [1.0, 1.0]], dtype=dtype), torch.tensor([3.0, 0.0], dtype=dtype)
    entries = codebook(total, usage)
    assert entries.dtype == torch.float32
    torch.testing.assert_close(entries, torch.tensor([[1 / 3, 2 / 3], [1e5, 1e5]]))


def test_latents_are_upstreams(small_model: Path) -> None:
    module = load_network(small_model).decoder.quantizer
    codes = torch.randint(256, (40, 16))
    with torch.inference_mode():
        expected = module.decode(codes.T[None])[0].T
        table = dequantizer(weights_of(small_model, "decoder").at("quantizer"), read_config(small_model).decoder)
        torch.testing.assert_close(table(codes), expected, rtol=1e-4, atol=1e-5)
