"""A weight -> the convolution of images with it, by the library that is fastest on the device and right there.

cuDNN raises nothing where one of its kernels is wrong. So each shape of its input is compared once with PyTorch's own
convolution, which runs from then on where cuDNN's is wrong.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from actors.network.rows import Rows, on_onednn

log = logging.getLogger("voxmill")

Steps = tuple[int, int]

TOLERANCE = 0.03
"""Of the largest number of a channel. Rounding to bf16 differs by 0.004; a kernel that is wrong differs by about 1."""


def convolution(
    weight: Tensor,
    bias: Tensor | None,
    on_cuda: bool,
    stride: Steps = (1, 1),
    dilation: Steps = (1, 1),
    groups: int = 1,
) -> Rows:
    """An image [B, in, H, W], its strides those of channels_last -> [B, out, H', W'], without padding, of a `weight`
    [out, in / groups, h, w]. `on_cuda`: in the form for CUDA, which runs everywhere.

    On a CPU by oneDNN, whose result for an image does not depend on B: `conv2d` has another kernel for one small image.
    """
    shape = stride, (0, 0), dilation, groups
    if on_cuda:
        return checked(_by_cudnn(weight, bias, shape))
    weight = weight.contiguous(memory_format=torch.channels_last)
    if on_onednn(weight):
        return lambda image: torch.mkldnn_convolution(image, weight, bias, (0, 0), stride, dilation, groups)
    return lambda image: F.conv2d(image, weight, bias, *shape)


def _by_cudnn(weight: Tensor, bias: Tensor | None, shape: tuple[Steps, Steps, Steps, int]) -> Rows:
    """In fp32 without channels_last: cuDNN has no such kernels in that precision, and lays images and weights out again
    itself. With that cuDNN 9.19 on an H100 gave 91 of 768 channels an error as large as the result (kernel 2 on 192
    channels, 32 x 201 steps), at the first call only or at every one. The copy costs 7 to 10 % of the speed in fp32."""
    if weight.dtype == torch.float32:
        plain = weight.contiguous()
        return lambda image: F.conv2d(_plainly(image), plain, bias, *shape)
    last = weight.contiguous(memory_format=torch.channels_last)
    return lambda image: F.conv2d(image, last, bias, *shape)


def _plainly(image: Tensor) -> Tensor:
    """With the strides of a tensor that is contiguous. Those of one channel are so in any order, and PyTorch would take
    channels_last from them."""
    return image.squeeze(1).unsqueeze(1) if image.shape[1] == 1 else image.contiguous()


def checked(convolve: Rows) -> Rows:
    """`convolve` by cuDNN, or without it for shapes of images for which that is wrong. At a new shape it waits for the
    device. Each thread asks for itself, since PyTorch keeps cuDNN's plans by thread."""
    wrong = Wrong()

    def run(image: Tensor) -> Tensor:
        if image.shape not in wrong.shapes:
            wrong.shapes[image.shape] = is_wrong(convolve, image)
        if not wrong.shapes[image.shape]:
            return convolve(image)
        with without_cudnn():
            found = convolve(image)
        return found if image.dtype == torch.float32 else found.contiguous(memory_format=torch.channels_last)

    return run


class Wrong(threading.local):
    """Shapes of images, and whether cuDNN is wrong for them."""

    def __init__(self) -> None:
        self.shapes: dict[torch.Size, bool] = {}


def is_wrong(convolve: Rows, image: Tensor) -> bool:
    """Whether cuDNN's result for noise of the shape and strides of `image` is another one than PyTorch's."""
    noise = torch.empty_like(image).normal_(generator=torch.Generator(image.device).manual_seed(0))
    found, largest, error = convolve(noise), [], []
    with without_cudnn():
        for ours, one in zip(found, noise.split(1), strict=True):  # one after the other: it needs little memory
            expected = convolve(one)[0].float()
            infinite = ~expected.isfinite()  # large weights in half precision
            largest.append(expected.masked_fill(infinite, 0).abs().amax((1, 2)))
            error.append((ours - expected).masked_fill(infinite, 0).abs().amax((1, 2)))
    least = torch.finfo(image.dtype).tiny  # of a channel whose weights are 0 or nearly so
    share = (torch.stack(error).amax(0) / torch.stack(largest).amax(0).clamp_min(least)).max().item()
    if share <= TOLERANCE:
        return False
    log.warning(
        "cuDNN %s is wrong here in a convolution of %s in %s, by %.0f %% of a channel's largest number. This one runs"
        " without cuDNN, which is slower.",
        torch.backends.cudnn.version(),
        list(image.shape),
        str(image.dtype).removeprefix("torch."),
        100 * share,
    )
    return True


@contextmanager
def without_cudnn() -> Iterator[None]:
    """While inside, convolutions are PyTorch's own."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before
