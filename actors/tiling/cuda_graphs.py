"""Functions of tensors -> the same functions, replayed as CUDA graphs: many kernels at the cost of one launch."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from actors.device import side_stream, times_full
from actors.errors import DeviceError
from actors.tiling.tiles import MAX_WINDOWS

MAX_GRAPHS = MAX_WINDOWS
"""Shapes for which a function is captured: one for each window of tiles, one for each number of blocks at once."""
WARM_UP_CALLS = 3
"""Calls before a capture, as PyTorch's manual asks: libraries choose their kernels, Triton builds its own."""

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
"""Tensors of some rows each -> tensors of as many rows."""


class Run(Protocol):
    """How functions of blocks of rows are called: `directly`, or as `Graphs`."""

    def __call__(self, function: Function, block: int, *inputs: Tensor) -> Tensors:
        """`function` of every `block` rows of the inputs, each of its results joined. The next call may overwrite
        them."""


def directly(function: Function, block: int, *inputs: Tensor) -> Tensors:
    """The `Run` without graphs."""
    return function(*inputs) if len(inputs[0]) <= block else in_blocks(function, block, inputs, new_room)


Room = Callable[[Tensors, int], Tensors]
"""The first block's results, and the rows of all blocks -> tensors for those of all blocks."""


def new_room(found: Tensors, rows: int) -> Tensors:
    """The `Room` that nobody else has."""
    return tuple(one.new_empty(rows, *one.shape[1:]) for one in found)


def in_blocks(function: Function, block: int, inputs: Tensors, room: Room) -> Tensors:
    """`function` of every `block` rows of the inputs; its results are copied into `room`."""
    joined: Tensors = ()
    row = 0
    for some in zip(*(one.split(block) for one in inputs), strict=True):
        found = function(*some)
        if not joined:
            joined = room(found, len(inputs[0]))
        stop = row + len(found[0])
        torch._foreach_copy_([one[row:stop] for one in joined], found)  # one kernel
        row = stop
    return joined


def choose_acceleration(name: str, device: torch.device) -> str:
    """ "auto", "none" or "graphs" -> what the device supports; auto: graphs on CUDA, else none."""
    if name == "auto":
        return "graphs" if device.type == "cuda" else "none"
    if name == "graphs" and device.type != "cuda":
        raise DeviceError(f"accelerate is 'graphs' on {device.type}; only CUDA has them. Choose auto or none.")
    return name


class Graph(NamedTuple):
    """Reads `fixed`, and writes `results`."""

    fixed: Tensors
    replay: Callable[[], object]
    results: Tensors


class Graphs:
    """Captures each function, over as many blocks at once as the inputs have, for up to MAX_GRAPHS shapes; for further
    ones it is called directly. Longer inputs are run in parts of MAX_GRAPHS blocks.

    A function is known by equality, lives as long as its graphs (never one that is made for the call), and must not
    depend on anything but its inputs. All graphs of one object share their memory, those of one shape their inputs or
    results too. They also use cuBLAS's workspaces, which PyTorch owns: do not clear those
    (`torch._C._cuda_clearCublasWorkspaces`, torch.compile's "reduce-overhead") beside them.
    """

    def __init__(self, capture: "Capture") -> None:
        self.capture = capture
        self.captured: dict[Hashable, dict[Hashable, Graph]] = {}
        self.shared: dict[Hashable, Tensors] = {}
        self.pool: Any = None

    def __call__(self, function: Function, block: int, *inputs: Tensor) -> Tensors:
        """As `Run`. Raises DeviceError where the function cannot be captured."""
        most = MAX_GRAPHS * block
        if len(inputs[0]) > most:
            return in_blocks(lambda *part: self(function, block, *part), most, inputs, new_room)
        graphs = self.captured.setdefault(function, {})
        shapes = tuple((one.shape, one.dtype) for one in inputs)
        if shapes not in graphs:
            if len(graphs) >= MAX_GRAPHS:
                return directly(function, block, *inputs)
            inputs = tuple(one.clone() for one in inputs)  # they may be results, which a capture overwrites
            graphs[shapes] = self._captured(function, block, inputs)
        graph = graphs[shapes]
        torch._foreach_copy_(graph.fixed, inputs)  # one kernel
        graph.replay()
        return graph.results

    def forget(self) -> None:
        """Give the memory of all graphs back to PyTorch."""
        self.captured.clear()
        self.shared.clear()
        self.pool = None

    def _captured(self, function: Function, block: int, inputs: Tensors) -> Graph:
        fixed = self._shared("inputs", inputs, len(inputs[0]))
        torch._foreach_copy_(fixed, inputs)
        results: Tensors = ()

        def call() -> None:
            nonlocal results
            results = in_blocks(function, block, fixed, lambda found, rows: self._shared("results", found, rows))

        replay, self.pool = self.capture(call, inputs[0].device, self.pool)
        return Graph(fixed, replay, results)

    def _shared(self, of: str, like: Tensors, rows: int) -> Tensors:
        """Tensors of so many rows, the same for all graphs."""
        key = of, rows, tuple((one.shape[1:], one.dtype) for one in like)
        if key not in self.shared:
            self.shared[key] = new_room(like, rows)
        return self.shared[key]


Replay = Callable[[], object]
Capture = Callable[[Callable[[], object], torch.device, Any], tuple[Replay, Any]]
"""What reads and writes fixed tensors of a device, and the memory pool of earlier graphs or None -> its replay, and
their pool."""


def capture(call: Callable[[], object], device: torch.device, pool: Any) -> tuple[Replay, Any]:
    """A `Capture` as one CUDA graph.

    Raises DeviceError where the call cannot be captured: the allocator would go on as if the capture did.
    """
    side, here = side_stream(device, "capture"), torch.cuda.current_stream(device)
    full = times_full(device)
    side.wait_stream(here)
    try:
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                call()
    finally:
        here.wait_stream(side)  # also where this is interrupted: what it writes may be freed then
    graph = torch.cuda.CUDAGraph()
    try:
        # its default stream belongs to the first device that captured; other threads may use CUDA meanwhile; and where
        # the end of a capture fails, it leaves its stream the current one
        how = {"stream": side, "pool": pool, "capture_error_mode": "thread_local"}
        with torch.cuda.stream(here), torch.cuda.graph(graph, **how):
            call()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "captur" not in str(error).partition("\n")[0]:  # the device itself is broken
            raise
        raise DeviceError(
            f"a CUDA graph could not be captured on {device} ({str(error).splitlines()[0]}). Set accelerate to 'none',"
            " and report it with the versions of the driver and of PyTorch."
        ) from error
    if times_full(device) > full:  # cuDNN went on with another kernel, which nobody compared
        raise torch.OutOfMemoryError(f"out of memory on {device} while a CUDA graph was captured")
    return graph.replay, graph.pool()
