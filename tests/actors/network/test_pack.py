"""Recordings that are computed together: each as if it were alone, in kernels of few shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from actors.codec import Codec
from actors.network.attention import band
from actors.network.pack import SHORTEST, pack
from actors.tiling.tiles import batches
from tests.helpers.engine import CPU
from tests.helpers.signals import noise, random_codes
from tests.helpers.trace import kernels_of

SECONDS = (0.05, 5.5, 11.0)
"""One of each length of a group, 128, 256 and 512 steps at 25 Hz, and one across a window of 10 s; the first runs in a
shorter window of the convolutions."""


@given(
    st.lists(st.integers(0, 9) | st.sampled_from([SHORTEST - 1, SHORTEST, SHORTEST + 1]), max_size=4),
    st.sampled_from([1, 2]),
    st.none() | st.integers(1, 9),
    st.sampled_from([1, 4, 64]),
    st.integers(0, 2**31 - 1),
)
@settings(max_examples=25, deadline=None)
def test_attention_in_a_pack_is_that_of_each_recording(
    lengths: list[int], steps: int, window: int | None, block: int, seed: int
) -> None:
    torch.manual_seed(seed)
    made = pack(lengths, steps, window, block, CPU)
    assert made.frames % block == 0
    qkv = torch.randn(made.frames * steps, 3, 2, 4, dtype=torch.float64)
    mask = made.attention.mask(qkv.dtype)
    attended = made.attention(qkv, mask)
    parts = [steps * length for length in lengths]
    for number, part in enumerate(qkv[: sum(parts)].split(parts)):
        seen = band(len(part), len(part), window, CPU)
        expected = F.scaled_dot_product_attention(*part.permute(1, 2, 0, 3), attn_mask=seen).transpose(0, 1).flatten(1)
        torch.testing.assert_close(attended[: sum(parts)].split(parts)[number], expected)
    qkv[: parts[0] if parts else 0] = torch.nan
    again = made.attention(qkv, mask)  # what overflowed stays where it is
    assert torch.equal(again[sum(parts[:1]) :], attended[sum(parts[:1]) :])


@pytest.fixture(scope="module", params=["full", "window"])
def batching(request: pytest.FixtureRequest, small_model: Path) -> Codec:
    """The way of a GPU, on the CPU."""
    return Codec.load(str(small_model), "cpu", attention=request.param, tile_s=0.96, tile_batch=3)


def test_new_lengths_are_no_new_shapes(batching: Codec) -> None:
    """CUDA chooses kernels by shape: each new one costs time on the host, and may round in another way."""
    first = [noise(round(s * 24_000)) for s in SECONDS]
    codes = batching.encode(first)
    known = kernels_of(lambda: batching.encode(first)) | kernels_of(lambda: batching.decode([codes[-1][:80], codes[0]]))
    assert len({one.split()[0] for one in known}) >= 3  # convolutions, products, attention
    rng = np.random.default_rng(0)
    for count in (2, 1):
        waves = [noise(round(s * 24_000)) for s in rng.uniform(0.05, max(SECONDS), count)]
        assert kernels_of(lambda waves=waves: batching.encode(waves)) <= known
        lengths = rng.integers(1, 80, count)
        assert kernels_of(lambda lengths=lengths: batching.decode([codes[-1][:one] for one in lengths])) <= known


@pytest.mark.parametrize("part", ["encode", "decode"])
def test_company_and_order_change_neither_results_nor_kernels(batching: Codec, part: str) -> None:
    call, items = getattr(batching, part), [noise(round(s * 24_000), seed) for seed, s in enumerate((*SECONDS, 0.5))]
    if part == "decode":
        items = [random_codes(len(one) // 8000 + 1, seed) for seed, one in enumerate(items)]
    results = []
    together = kernels_of(lambda: results.extend(call(items)))
    alone = [kernels_of(lambda item=item: results.extend(call([item]))) for item in items]
    results += call(items[::-1])[::-1]
    assert set.union(*alone) == together
    for first, second, third in zip(*batches(results, len(items)), strict=True):
        assert np.array_equal(first, second)
        assert np.array_equal(first, third)
