"""A call -> the kernels whose algorithm a library chooses by shape, with the shapes that they were given."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BY_SHAPE = ("conv", "linear", "mm", "addmm", "matmul", "bmm", "scaled_dot_product_attention")
Kernels = set[tuple[str, tuple[tuple[int, ...], ...]]]


class _Noted(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.kernels: Kernels = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.startswith(BY_SHAPE):
            shapes = tuple(tuple(one.shape) for one in args if isinstance(one, Tensor))
            self.kernels.add((func.__name__, shapes))
        return func(*args, **(kwargs or {}))


def kernels_of(call: Callable[[], object]) -> Kernels:
    """Products, convolutions and attention of one call."""
    with _Noted() as noted:
        call()
    return noted.kernels
