"""A stack of convolutions -> the same function, replayed as a CUDA graph for each static shape."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from actors.device import side_stream
from actors.errors import DeviceError
from actors.tiling.stack import Carried, Stack
from actors.tiling.tiles import MAX_WINDOWS

MAX_GRAPHS = MAX_WINDOWS
"""Shapes that are captured, one for each window; each keeps its result in device memory."""
WARM_UP_CALLS = 3
"""Calls before a capture, as PyTorch's manual asks: libraries choose their kernels, Triton builds its own."""


def choose_acceleration(name: str, device: torch.device) -> str:
    """ "auto", "none" or "graphs" -> what the device supports; auto: graphs on CUDA, else none."""
    if name == "auto":
        return "graphs" if device.type == "cuda" else "none"
    if name == "graphs" and device.type != "cuda":
        raise DeviceError(f"accelerate is 'graphs' on {device.type}; only CUDA has them. Choose auto or none.")
    return name


class Graphs:
    """Captures each new shape, up to MAX_GRAPHS; further ones run without a graph.

    The result of a call is overwritten by the next call of the same shape.
    """

    def __init__(self, stack: Stack, capture: Callable[[Stack, Tensor], Stack]) -> None:
        self.stack, self.capture = stack, capture
        self.captured: dict[Any, Stack] = {}

    def __call__(self, rows: Tensor, carried: Carried | None = None) -> Tensor:
        """Same as the stack. With `carried`, layers replace tensors, which a graph cannot: it then runs without one."""
        if carried is not None:
            return self.stack(rows, carried)
        shape = (rows.shape, rows.dtype)
        if shape not in self.captured:
            if len(self.captured) >= MAX_GRAPHS:
                return self.stack(rows, None)
            self.captured[shape] = self.capture(self.stack, rows)
        return self.captured[shape](rows, None)

    def forget(self) -> None:
        """Free the memory of all graphs."""
        self.captured.clear()


def capture(stack: Stack, example: Tensor) -> Stack:
    """One CUDA graph of `stack` for inputs like `example`.

    Raises DeviceError where it cannot be captured: the allocator would go on as if the capture did.
    """
    fixed = example.clone()
    side = side_stream(example.device, "capture")
    side.wait_stream(torch.cuda.current_stream(example.device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):
            stack(fixed, None)
    torch.cuda.current_stream(example.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    here = torch.cuda.current_stream(example.device)
    try:
        # its default stream belongs to the first device that captured; other threads may use CUDA meanwhile; and where
        # the end of a capture fails, it leaves its stream the current one
        with torch.cuda.stream(here), torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            result = stack(fixed, None)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "captur" not in str(error):  # the device itself is broken
            raise
        raise DeviceError(
            f"a CUDA graph could not be captured on {example.device} ({str(error).splitlines()[0]}). Set accelerate to"
            " 'none', and report it with the versions of the driver and of PyTorch."
        ) from error

    def replay(rows: Tensor, carried: Carried | None) -> Tensor:
        fixed.copy_(rows)
        graph.replay()
        return result

    return replay
