"""A stack of convolutions -> the same function through torch.compile, or the stack itself where that fails."""

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

from actors.tiling.stack import Stack

log = logging.getLogger("voxmill")

INDUCTOR = "inductor"
"""PyTorch's own compiler: needs a C++ compiler for a CPU, Triton for a GPU."""


def compiled(stack: Stack, rows: Tensor, backend: str | Callable[..., object] | None = None) -> Stack | None:
    """`stack` compiled for windows as long as those of `rows`, and called once; None, with a warning, where that fails.
    Shorter windows run as they are: each would be compiled anew, and an actor start as much later.

    Here and not in the first call of a run: compiling takes minutes, which a watchdog would take for a hang. Code is
    kept in a folder that further processes of this machine read.
    """
    from torch._dynamo.exc import TorchDynamoException  # here, with the folder: they import the compiler
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    fast, begun = torch.compile(stack, dynamic=False, backend=backend or INDUCTOR), time.monotonic()
    try:
        fast(rows, None)
    except torch.OutOfMemoryError:
        pass  # compiled; the first call will halve the batch
    except TorchDynamoException as error:
        why = " ".join(str(error).partition("\n\n")[0].split())  # what follows are PyTorch's switches for developers
        log.warning("accelerate is 'compile', but %s. Going on without.", why[:300])
        return None
    log.info("compiled in %.0f s; code is kept in %s", time.monotonic() - begun, cache_dir())
    return lambda given, carried: (fast if given.shape[1] == rows.shape[1] else stack)(given, carried)
