"""A call -> the kernels that it launches: names, types, shapes, and the bytes that they move. On any device."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

GATHERS = ("index", "index_select", "embedding_bag")
WRITERS = ("copy_", "fill_", "zero_")
NO_KERNELS = ("empty", "record_stream")


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
        given = [one for one in _flat(args) if isinstance(one, Tensor)]
        first = next(_flat(given if result is None else [result]), None)  # _foreach_copy_ returns None
        launches = not func.is_view and not any(name in func.__name__ for name in NO_KERNELS)
        if launches and isinstance(first, Tensor) and first.device.type == self.device:
            kind = str(first.dtype).removeprefix("torch.")
            moved = _moved(func.__name__.partition(".")[0], given, first)
            self.launches.append(Launch(func.__name__, kind, [list(one.shape) for one in given], moved))
        return result


def traced(call: Callable[[], object], device: str = "cpu") -> list[Launch]:
    """What one call launches on the device, in order."""
    with _Noted(device) as noted:
        call()
    return noted.launches


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """The values, and those of lists among them."""
    return (one for value in values for one in (value if isinstance(value, (tuple, list)) else [value]))


def _moved(name: str, given: list[Tensor], result: Tensor) -> int:
    """Every input is read once, the result is written once; of a table as much is read as comes out."""
    if name == "_foreach_copy_":  # what is read and what is written, as many tensors each
        return sum(map(_bytes, given))
    inputs = given[1:] if name in WRITERS or name in GATHERS else given
    read = sum(map(_bytes, inputs)) + (_bytes(result) if name in GATHERS else 0)
    return read + _bytes(result)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
