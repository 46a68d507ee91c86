"""Activations in half precision on CUDA -> one Triton kernel each, or PyTorch's operations where Triton cannot run.

PyTorch takes five passes over memory for a snake, and writes ELU into padded tensors at a third of the memory's speed.
The kernels are operators of PyTorch, `torch.ops.voxmill`, so that its profiler and traces see them.
"""

import functools
import logging

import torch
from torch import Tensor

log = logging.getLogger("voxmill")

LIBRARY = torch.library.Library("voxmill", "DEF")
LIBRARY.define("elu(Tensor x, Tensor? bias, *, Tensor(a!) out) -> Tensor(a!)")
LIBRARY.define("snake(Tensor x, Tensor? bias, Tensor rate, Tensor root, *, Tensor(a!) out) -> Tensor(a!)")


def activate(x: Tensor, *of_channels: Tensor | None, out: Tensor) -> Tensor:
    """The kernel; imports Triton."""
    from actors.network.triton_kernels import activate as kernel

    return kernel(x, *of_channels, out=out)


LIBRARY.impl("elu", activate, "CUDA")
LIBRARY.impl("snake", activate, "CUDA")


def in_one_kernel(x: Tensor) -> bool:
    """Whether activations of x run as one kernel. In fp32 PyTorch's operations run, whose results are upstream's."""
    return x.device.type == "cuda" and x.dtype != torch.float32 and _why_not() is None


@functools.cache
def _why_not() -> str | None:
    """Why they cannot run here, in one line, logged once; None where they can. Builds one: that needs a C compiler."""
    if not torch.cuda.is_available():
        return "no CUDA"
    try:
        x = torch.zeros(1, 1, 16, dtype=torch.float16, device="cuda")
        activate(x, None, out=x)
    except Exception as error:  # whatever Triton raises where a compiler, a driver or it itself is missing
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        log.warning("Triton cannot build kernels here (%s). Going on with PyTorch's, which are slower.", why)
        return why
    return None
