"""Convolutions of libraries are compared with another way, once for each shape; run on a CPU."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from actors.network.convolution import TOLERANCE, checked, convolution, difference, not_by_cudnn, without_cudnn
from actors.network.rows import Rows

Call = tuple[int, bool]
"""Images of a call, and whether cuDNN could run it."""


def layer(outputs: int = 6) -> tuple[Tensor, Tensor]:
    """A weight of kernel 3 on 4 channels, and a bias."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs, 4, 1, 3, generator=generator), torch.randn(outputs, generator=generator)


def images(count: int = 3, steps: int = 20, dtype: torch.dtype = torch.float32) -> Tensor:
    """[B, 4, 1, T] with the strides of channels_last, as layers make them."""
    return torch.randn(count, steps, 4, generator=torch.Generator().manual_seed(1)).to(dtype).mT.unsqueeze(2)


def spoilt(calls: list[Call], channel: int | None, by: float = 1.0) -> Rows:
    """A convolution that adds `by` to a channel of the last image where cuDNN may run, and notes its calls."""
    weight, bias = layer()

    def convolve(image: Tensor) -> Tensor:
        calls.append((len(image), torch.backends.cudnn.enabled))
        result = F.conv2d(image, weight.to(image.dtype), bias.to(image.dtype))
        if torch.backends.cudnn.enabled and channel is not None:
            result[-1, channel] += by * result.abs().max()
        return result

    return convolve


def by_cudnn(convolve: Rows) -> Rows:
    return checked(convolve, not_by_cudnn(convolve), "cuDNN")


def cudnn_is_wrong(convolve: Rows, image: Tensor) -> bool:
    return not difference(convolve, not_by_cudnn(convolve), image) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("on_cuda", [False, True])
def test_it_is_pytorchs_convolution(on_cuda: bool, dtype: torch.dtype) -> None:
    weight, bias = (one.to(dtype) for one in layer())
    found = convolution(weight, bias, on_cuda, (1, 2), (1, 3))(images(dtype=dtype))
    expected = F.conv2d(images(), weight.float(), bias.float(), (1, 2), 0, (1, 3))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("channels", "kernel", "stride"), [(1, 7, 1), (16, 8, 4), (16, 4, 4), (32, 10, 5), (64, 8, 4)])
def test_bf16_on_a_cpu_is_fp32_rounded(channels: int, kernel: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, channels, 1, kernel, generator=generator).bfloat16() / (channels * kernel) ** 0.5
    image = torch.randn(1, 9604, channels, generator=generator).bfloat16().mT.unsqueeze(2)
    found = convolution(weight, None, False, (1, stride))(image).float()
    expected = F.conv2d(image.float(), weight.float(), None, (1, stride))
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_every_shape_is_compared_once() -> None:
    calls: list[Call] = []
    run = by_cudnn(spoilt(calls, None))
    for image in (images(), images(), images(2), images()):
        run(image)
    compared = [(3, True), *[(1, False)] * 3]
    assert calls == [*compared, (3, True), (3, True), (2, True), *compared[2:], (2, True), (3, True)]


@pytest.mark.parametrize(("channel", "by"), [(0, 1.0), (5, 0.05), (2, torch.nan), (3, torch.inf)])
def test_where_cudnn_is_wrong_it_does_not_run(channel: int, by: float, caplog: pytest.LogCaptureFixture) -> None:
    run, right = by_cudnn(spoilt([], channel, by)), spoilt([], None)
    with caplog.at_level(logging.WARNING, "voxmill"):
        for image in (images(), images(), images(2)):
            assert torch.equal(run(image), right(image))
    (record,) = caplog.records  # of the first shape
    assert "wrong here in a convolution of [3, 4, 1, 20] in float32, by" in record.message
    assert torch.backends.cudnn.enabled


def test_a_channel_of_small_numbers_counts_as_any_other() -> None:
    weight, bias = layer()
    weight[4] *= 1e-3
    bias[4] = 0

    def convolve(image: Tensor) -> Tensor:
        result = F.conv2d(image, weight, bias)
        if torch.backends.cudnn.enabled:
            result[:, 4] = 0
        return result

    assert cudnn_is_wrong(convolve, images())


def test_each_thread_asks_for_itself() -> None:
    """PyTorch keeps cuDNN's plans by thread: another one may have been given another kernel."""
    calls: list[Call] = []
    run = by_cudnn(spoilt(calls, None))
    run(images())
    calls.clear()
    with ThreadPoolExecutor(1) as other:
        other.submit(run, images()).result()
    assert len(calls) == 5
    run(images())
    assert len(calls) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_without_cudnn_the_next_layer_gets_the_same_strides(dtype: torch.dtype) -> None:
    """PyTorch's own kernels for CUDA give [B, C, H, W] contiguous, which the kernel of activations cannot read."""

    def convolve(image: Tensor) -> Tensor:
        result = F.conv2d(image, layer()[0].to(dtype))
        return torch.full_like(result, torch.nan) if torch.backends.cudnn.enabled else result.contiguous()

    found = by_cudnn(convolve)(images(dtype=dtype))
    assert found.isfinite().all()
    assert found.squeeze(2).mT.is_contiguous()


def test_in_fp32_no_image_is_given_as_channels_last() -> None:
    """Of one channel both layouts are the same memory, and PyTorch takes channels_last where strides allow it."""
    given: list[bool] = []

    def note(image: Tensor, *others: Any) -> Tensor:
        given.append(image.stride()[1] == image.shape[2] * image.shape[3])
        return call(image, *others)

    call = F.conv2d
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "conv2d", note)
        for channels in (1, 4):
            image = torch.randn(2, 20, channels).mT.unsqueeze(2)
            convolution(torch.randn(3, channels, 1, 5), None, True)(image)
    assert len(given) > 4
    assert all(given)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_no_error(dtype: torch.dtype) -> None:
    weight, bias = (one.to(dtype) for one in layer(200))
    finer = weight.float(), bias.float()

    def convolve(image: Tensor) -> Tensor:
        if torch.backends.cudnn.enabled:  # summed in another precision
            return F.conv2d(image.float(), *finer).to(dtype)
        return F.conv2d(image, weight, bias)

    assert not cudnn_is_wrong(convolve, images(8, 400, dtype))


def test_the_callers_random_numbers_stay_as_they_are() -> None:
    before = torch.get_rng_state()
    cudnn_is_wrong(spoilt([], None), images())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("scale", "dtype"), [(0, torch.float32), (6e4, torch.float16)])
def test_weights_of_zero_and_numbers_that_overflow_are_no_error(scale: float, dtype: torch.dtype) -> None:
    weight = scale * layer()[0].clamp(-1, 1).to(dtype)
    assert not cudnn_is_wrong(lambda image: F.conv2d(image, weight), images(dtype=dtype))


def test_cudnn_is_as_it_was_after_an_error() -> None:
    def fails(image: Tensor) -> Tensor:
        assert not torch.backends.cudnn.enabled
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError), without_cudnn():
        fails(images())
    assert torch.backends.cudnn.enabled
