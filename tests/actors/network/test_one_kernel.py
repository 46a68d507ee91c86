"""The Triton kernel, run by Triton's interpreter on a CPU, beside PyTorch's operations; and what happens without it."""

from collections.abc import Iterator

import pytest
import torch

from actors.network import activations, one_kernel
from actors.network.activations import Elu, Snake

pytest.importorskip("triton", reason="Triton has no wheel for this system")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half precision on the CPU goes through the operators and the kernel that CUDA has."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # read when the kernel is defined
    monkeypatch.setattr(activations, "in_one_kernel", lambda x: x.dtype != torch.float32)
    with torch.library._scoped_library("voxmill", "IMPL") as library:
        for name in ("elu", "snake"):
            library.impl(name, one_kernel.activate, "CPU")
        yield


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("steps", "channels"), [(7, 96), (50, 64), (3, 1536), (1, 5), (4100, 1)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_kernel_computes_what_pytorch_does(
    interpreted: None, dtype: torch.dtype, steps: int, channels: int, biased: bool
) -> None:
    x, bias = 2 * random(2, steps, channels), random(channels, seed=1) if biased else None
    rate, root = 20 * random(channels, seed=2).abs(), random(channels, seed=3)
    for exact, half in (
        (Elu(bias), Elu(None if bias is None else bias.to(dtype))),
        (Snake(rate, root, bias), Snake(rate.to(dtype), root.to(dtype), None if bias is None else bias.to(dtype))),
    ):
        given = x.to(dtype)
        rounded = [None if one is None else one.float() for one in vars(half).values()]
        expected = torch.empty_like(x)
        type(exact)(*rounded)(given.float(), expected)
        padded = torch.full((2, steps + 6, channels), 9.0, dtype=dtype)
        half(given, padded[:, 6:])
        assert bool((padded[:, :6] == 9).all())
        torch.testing.assert_close(padded[:, 6:], expected.to(dtype), rtol=0, atol=0.01 * expected.abs().max().item())
        error = (padded[:, 6:].float() - expected).abs() / expected.abs().clamp(min=0.1)
        assert error.max() <= torch.finfo(dtype).eps
        half(given, given)
        assert torch.equal(given, padded[:, 6:])


def test_a_sine_of_a_large_angle_is_exact_enough(interpreted: None) -> None:
    x, one = torch.linspace(-1, 1, 999, dtype=torch.float16)[None, :, None], torch.ones(1, dtype=torch.float16)
    out = torch.empty_like(x)
    Snake(1000 * one, one)(x, out)
    expected = x.double() + torch.sin(1000 * x.double()).square()
    assert (out.double() - expected).abs().max() <= 2e-3  # half a unit of fp16 at 2 is 1e-3


def test_parts_of_larger_tensors_are_read_and_written_by_their_strides(interpreted: None) -> None:
    x = random(2, 20, 48).half()[:, 3:14, 16:32]
    out = torch.zeros(2, 13, 32, dtype=torch.float16)
    Elu()(x, out[:, 2:, :16])
    torch.testing.assert_close(out[:, 2:, :16], torch.nn.functional.elu(x))
    assert not out[:, :2].any()
    assert not out[:, :, 16:].any()


def test_without_triton_a_codec_says_so_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*inputs: object, out: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, dtype, device: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(one_kernel, "activate", no_compiler)
    one_kernel._why_not.cache_clear()
    try:
        assert [one_kernel._why_not() for _ in range(2)] == ["RuntimeError: Failed to find C compiler."] * 2
    finally:
        one_kernel._why_not.cache_clear()
    said = [record.getMessage() for record in caplog.records if record.name == "voxmill"]
    assert len(said) == 1
    assert said[0].startswith("Triton cannot build kernels here (RuntimeError: Failed to find C compiler.).")
