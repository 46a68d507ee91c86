"""The decoder's convolutions and latents: upstream's numbers, how far they look back, carrying instead of padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from actors.network.activations import snake
from actors.network.decoder import NO_SAMPLE, Decoder, rounded
from actors.network.weights import open_weights
from actors.pools.arrow import to_pcm16
from actors.qwen import load_network
from tests.helpers.engine import CPU, decoder_of
from tests.helpers.signals import noise


@pytest.fixture(scope="module")
def made(small_model: Path) -> Decoder:
    return decoder_of(small_model, torch.float64)


def test_latents_are_upstreams(small_model: Path) -> None:
    network = load_network(small_model).decoder
    codes = torch.randint(256, (1, 100, 16))  # past the window of 72
    with torch.inference_mode():
        x = network.pre_conv(network.quantizer.decode(codes.transpose(1, 2))).transpose(1, 2)
        expected = network.pre_transformer(inputs_embeds=x).last_hidden_state
        latents = decoder_of(small_model).latents(codes)
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_reach_is_what_a_change_of_input_shows(made: Decoder) -> None:
    assert made.halo == 10
    first = 12

    def seen(frame: int) -> bool:
        latents = torch.randn(1, 13, made.row, dtype=torch.float64)
        latents[:, frame] = torch.nan  # reaches all that depends on it, however little
        return bool(made.convolutions(latents)[:, first:].isnan().any())

    assert seen(first - made.halo)
    assert not any(seen(frame) for frame in range(first - made.halo))


@torch.inference_mode()
@pytest.mark.parametrize("pieces", [[5], [1] * 5, [2, 3]])
def test_carrying_is_the_same_as_at_once(made: Decoder, pieces: list[int]) -> None:
    latents = torch.randn(2, 5, made.row, dtype=torch.float64)
    carried: dict[object, torch.Tensor] = {}
    parts = [made.convolutions(part, carried) for part in latents.split(pieces, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), made.convolutions(latents))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_snake_is_finite_where_upstreams_guard_underflows(tmp_path: Path, dtype: torch.dtype) -> None:
    """1e-9 is 0 in fp16, where upstream's own would divide by the 0 that exp(-20) rounds to."""
    logarithms = {"alpha": torch.zeros(2), "beta": torch.tensor([0.0, -9.0])}
    save_file(logarithms, tmp_path / "model.safetensors")
    layer = snake(open_weights(tmp_path, CPU, dtype), 2)
    x = torch.linspace(-2, 2, 9, dtype=dtype)[None, :, None].repeat(1, 1, 2)
    expected = x.double() + (torch.tensor([0.0, -9.0]).double().exp() + 1e-9).reciprocal() * x.double().sin().square()
    out = torch.empty_like(x)
    layer(x, out)
    torch.testing.assert_close(out.double(), expected, rtol=1e-2 if dtype == torch.float16 else 1e-5, atol=1e-2)


def test_samples_are_rounded_as_the_host_rounds_them() -> None:
    """Where two samples are equally near, and just beside: every half of the scale and its neighbours, both signs."""
    halves = (np.arange(32_767, dtype=np.float32) + np.float32(0.5)) / np.float32(32_767)
    near = [halves, np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(1))]
    odd = np.float32([0, 1, np.nextafter(np.float32(1), np.float32(0)), 1e-40, 1.4e-45, 2**-149, 1.1754944e-38])
    samples = np.concatenate([*near, odd, noise(100_000).clip(-1, 1)])
    samples = np.concatenate([samples, -samples])
    assert np.array_equal(rounded(torch.from_numpy(samples)).numpy(), to_pcm16(samples))
    assert to_pcm16(samples).min() > NO_SAMPLE
    assert rounded(torch.tensor([torch.nan, -1.0])).tolist() == [NO_SAMPLE, -32_767]
