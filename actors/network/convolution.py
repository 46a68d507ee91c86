"""A weight -> the convolution of images with it, by the library that is fastest on the device and right there.

Libraries raise nothing where one of their kernels is wrong. So cuDNN, and oneDNN in bf16, are compared once for each
shape of their input (oneDNN: about) with another way, which runs from then on where theirs is wrong.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
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
        by_cudnn = _by_cudnn(weight, bias, shape)
        return checked(by_cudnn, not_by_cudnn(by_cudnn), f"cuDNN {torch.backends.cudnn.version()}")
    weight = weight.contiguous(memory_format=torch.channels_last)
    if on_onednn(weight):
        return lambda image: torch.mkldnn_convolution(image, weight, bias, (0, 0), stride, dilation, groups)

    def by_onednn(image: Tensor) -> Tensor:
        return F.conv2d(image, weight, bias, *shape)

    if weight.dtype == torch.float32:
        return by_onednn
    return checked(by_onednn, _in_fp32(weight, bias, shape), "oneDNN", _about, logging.INFO)  # no one's GPU waits


def _in_fp32(weight: Tensor, bias: Tensor | None, shape: tuple[Steps, Steps, Steps, int]) -> Rows:
    """With AMX, oneDNN of PyTorch 2.13 gives anything for bf16 images of 16 channels, kernel 8 and stride 4."""

    def run(image: Tensor) -> Tensor:
        wide = None if bias is None else bias.float()
        return F.conv2d(image.float(), weight.float(), wide, *shape).to(image.dtype)

    return run


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


def not_by_cudnn(convolve: Rows) -> Rows:
    """`convolve` by PyTorch's own kernels, with the strides of cuDNN's results."""

    def run(image: Tensor) -> Tensor:
        with without_cudnn():
            found = convolve(image)
        return found if image.dtype == torch.float32 else found.contiguous(memory_format=torch.channels_last)

    return run


def _shape(image: Tensor) -> Hashable:
    return image.shape


def _about(image: Tensor) -> Hashable:
    """A CPU's images have any length, and to compare each would take as long again as a call."""
    return len(image) > 1, image.shape[3].bit_length()


def checked(
    convolve: Rows,
    instead: Rows,
    library: str,
    shape: Callable[[Tensor], Hashable] = _shape,
    level: int = logging.WARNING,
) -> Rows:
    """`convolve` by a library, or `instead` for images of a `shape` where that is wrong; the log says so at `level`.
    At a new one it waits for the device. Each thread asks for itself: PyTorch keeps cuDNN's plans by thread."""
    wrong = Wrong()

    def run(image: Tensor) -> Tensor:
        key = shape(image)
        if key not in wrong.shapes:
            share = difference(convolve, instead, image)
            if not share <= TOLERANCE and not any(wrong.shapes.values()):
                _tell(level, library, image, share)
            wrong.shapes[key] = not share <= TOLERANCE  # it may be NaN
        return instead(image) if wrong.shapes[key] else convolve(image)

    return run


class Wrong(threading.local):
    """Shapes of images, and whether the library is wrong for them."""

    def __init__(self) -> None:
        self.shapes: dict[Hashable, bool] = {}


def difference(convolve: Rows, instead: Rows, image: Tensor) -> float:
    """By how much of the largest number of a channel the two differ, at most, for noise of the shape and strides of
    `image`."""
    noise = torch.empty_like(image).normal_(generator=torch.Generator(image.device).manual_seed(0))
    found, largest, error = convolve(noise), [], []
    for ours, one in zip(found, noise.split(1), strict=True):  # one after the other: it needs little memory
        expected = instead(one)[0].float()
        infinite = ~expected.isfinite()  # large weights in half precision
        largest.append(expected.masked_fill(infinite, 0).abs().amax((1, 2)))
        error.append((ours - expected).masked_fill(infinite, 0).abs().amax((1, 2)))
    least = torch.finfo(image.dtype).tiny  # of a channel whose weights are 0 or nearly so
    return (torch.stack(error).amax(0) / torch.stack(largest).amax(0).clamp_min(least)).max().item()


def _tell(level: int, library: str, image: Tensor, share: float) -> None:
    log.log(
        level,
        "%s is wrong here in a convolution of %s in %s, by %.0f %% of a channel's largest number. This one runs another"
        " way, which is slower.",
        library,
        list(image.shape),
        str(image.dtype).removeprefix("torch."),
        100 * share,
    )


@contextmanager
def without_cudnn() -> Iterator[None]:
    """While inside, convolutions are PyTorch's own."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before
