"""A call -> the kernels that it launches: names, types, shapes, and the bytes that they move. On any device."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

GATHERS = ("index", "index_select", "embedding_bag")
WRITERS = ("copy_", "fill_", "zero_")


class Launch(NamedTuple):
    """`kind`: type of the result; `shapes` of the tensors that it was given; `moved`: bytes read and written."""

    name: str
    kind: str
    shapes: list[list[int]]
    moved: int


class _Noted(TorchDispatchMode):
    """Views, allocations and what runs beside `device` are no launches."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.launches: list[Launch] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor) and first.device.type == self.device and not func.is_view:
            given = [one for one in args if isinstance(one, Tensor)]
            if "empty" not in func.__name__:
                kind = str(first.dtype).removeprefix("torch.")
                moved = _moved(func.__name__.partition(".")[0], given, first)
                self.launches.append(Launch(func.__name__, kind, [list(one.shape) for one in given], moved))
        return result


def traced(call: Callable[[], object], device: str = "cpu") -> list[Launch]:
    """What one call launches on the device, in order."""
    with _Noted(device) as noted:
        call()
    return noted.launches


def _moved(name: str, given: list[Tensor], result: Tensor) -> int:
    """Every input is read once, the result is written once; of a table as much is read as comes out."""
    inputs = given[1:] if name in WRITERS or name in GATHERS else given
    read = sum(map(_bytes, inputs)) + (_bytes(result) if name in GATHERS else 0)
    return read + _bytes(result)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
