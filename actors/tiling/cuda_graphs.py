"""Functions of tensors -> the same functions, replayed as CUDA graphs: many kernels at the cost of one launch."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from actors.device import side_stream
from actors.errors import DeviceError
from actors.tiling.tiles import MAX_WINDOWS

MAX_GRAPHS = MAX_WINDOWS
"""Shapes for which a function is captured, one for each window; each keeps its inputs and results in device memory."""
WARM_UP_CALLS = 3
"""Calls before a capture, as PyTorch's manual asks: libraries choose their kernels, Triton builds its own."""

Result = TypeVar("Result")


class Run(Protocol):
    """How functions of tensors are called: `directly`, or as `Graphs`."""

    def __call__(self, function: Callable[..., Result], *inputs: Tensor) -> Result:
        """`function(*inputs)`; may be overwritten by the next call."""


def directly(function: Callable[..., Result], *inputs: Tensor) -> Result:
    """The `Run` without graphs."""
    return function(*inputs)


def choose_acceleration(name: str, device: torch.device) -> str:
    """ "auto", "none" or "graphs" -> what the device supports; auto: graphs on CUDA, else none."""
    if name == "auto":
        return "graphs" if device.type == "cuda" else "none"
    if name == "graphs" and device.type != "cuda":
        raise DeviceError(f"accelerate is 'graphs' on {device.type}; only CUDA has them. Choose auto or none.")
    return name


class Graphs:
    """Captures each function for up to MAX_GRAPHS shapes of its inputs; for further ones it is called directly.

    A function is known by equality, lives as long as its graphs (never one that is made for the call), and must not
    depend on anything but its inputs. All graphs of one object share their memory, so that the result of a call is
    overwritten by the next call of any function. They also use cuBLAS's workspaces, which PyTorch owns: do not clear
    those (`torch._C._cuda_clearCublasWorkspaces`, torch.compile's "reduce-overhead") beside them.
    """

    def __init__(self, capture: "Capture") -> None:
        self.capture = capture
        self.captured: dict[Hashable, dict[Hashable, Callable[..., Any]]] = {}
        self.pool: Any = None

    def __call__(self, function: Callable[..., Result], *inputs: Tensor) -> Result:
        """`function(*inputs)`. Raises DeviceError where it cannot be captured."""
        graphs = self.captured.setdefault(function, {})
        shapes = tuple((one.shape, one.dtype) for one in inputs)
        if shapes not in graphs:
            if len(graphs) >= MAX_GRAPHS:
                return function(*inputs)
            graphs[shapes], self.pool = self.capture(function, inputs, self.pool)
        return graphs[shapes](*inputs)

    def forget(self) -> None:
        """Give the memory of all graphs back to PyTorch."""
        self.captured.clear()
        self.pool = None


Replay = Callable[..., Any]
Capture = Callable[[Callable[..., Any], tuple[Tensor, ...], Any], tuple[Replay, Any]]
"""A function, examples of its inputs, and the memory pool of earlier graphs or None -> its replay, and their pool."""


def capture(function: Callable[..., Any], examples: tuple[Tensor, ...], pool: Any) -> tuple[Replay, Any]:
    """A `Capture` as one CUDA graph.

    Raises DeviceError where the function cannot be captured: the allocator would go on as if the capture did.
    """
    fixed = [one.clone() for one in examples]
    device = fixed[0].device
    side, here = side_stream(device, "capture"), torch.cuda.current_stream(device)
    full = _times_full(device)
    side.wait_stream(here)
    try:
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                function(*fixed)
    finally:
        here.wait_stream(side)  # also where this is interrupted: `fixed` is freed then
    graph = torch.cuda.CUDAGraph()
    try:
        # its default stream belongs to the first device that captured; other threads may use CUDA meanwhile; and where
        # the end of a capture fails, it leaves its stream the current one
        how = {"stream": side, "pool": pool, "capture_error_mode": "thread_local"}
        with torch.cuda.stream(here), torch.cuda.graph(graph, **how):
            result = function(*fixed)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "captur" not in str(error).partition("\n")[0]:  # the device itself is broken
            raise
        raise DeviceError(
            f"a CUDA graph could not be captured on {device} ({str(error).splitlines()[0]}). Set accelerate to 'none',"
            " and report it with the versions of the driver and of PyTorch."
        ) from error
    if _times_full(device) > full:  # cuDNN went on with another kernel, which nobody compared
        raise torch.OutOfMemoryError(f"out of memory on {device} while a CUDA graph was captured")

    def replay(*inputs: Tensor) -> Any:
        torch._foreach_copy_(fixed, inputs)  # one kernel
        graph.replay()
        return result

    return replay, graph.pool()


def _times_full(device: torch.device) -> int:
    """How often PyTorch has found no memory on the device."""
    return torch.cuda.memory_stats(device).get("num_ooms", 0)
