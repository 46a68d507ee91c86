"""Part of a parameter -> the same, with no gradient: what training leaves as it was fitted."""

import torch
from torch.utils.hooks import RemovableHandle


def hold_part(parameter: torch.Tensor, axis: int, begin: int, count: int) -> RemovableHandle:
    """No gradient for `count` places of `axis` from `begin` on, until the handle is removed."""
    free = torch.ones_like(parameter)
    free.narrow(axis, begin, count).zero_()
    return parameter.register_hook(lambda gradient: gradient * free)
