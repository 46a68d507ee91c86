"""model.safetensors -> its tensors by name, one at a time: the file is mapped, and only what is asked for is read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from actors.errors import ModelError


@dataclass(frozen=True)
class Weights:
    """The tensors whose names start with `prefix`, and the device and dtype that the engine wants them in."""

    path: Path
    file: Any  # safetensors' handle: the file stays mapped while it lives
    names: frozenset[str]
    device: torch.device
    dtype: torch.dtype
    prefix: str = ""

    def at(self, name: str | int) -> "Weights":
        """The tensors below `name`: at("a").at("b")["c"] is "a.b.c"."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def in_fp32(self) -> "Weights":
        """The same tensors, wanted in fp32."""
        return replace(self, dtype=torch.float32)

    def read(self, name: str, *shape: int) -> Tensor:
        """fp32 on the CPU, upcast where the file holds half precision; a copy, not a view of the mapped file.

        Raises ModelError where the file lacks it or has it in another shape than `shape`, which config.json implies.
        """
        name = self.prefix + name
        tensor = self.file.get_tensor(name) if name in self.names else None
        if tensor is None or tuple(tensor.shape) != shape or not tensor.is_floating_point():
            seen = "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
            raise ModelError(
                f"{self.path} lacks a weight of the network in config.json, or has it in another shape: {name} is "
                f"{seen}; expected floats {list(shape)}. Fetch the model again."
            )
        return tensor.to(torch.float32, copy=True)

    def placed(self, tensor: Tensor) -> Tensor:
        """`tensor` on the engine's device in the engine's dtype."""
        return tensor.to(self.device, self.dtype)

    def get(self, name: str, *shape: int) -> Tensor:
        """`read`, then `placed`."""
        return self.placed(self.read(name, *shape))


def open_weights(folder: Path, device: torch.device, dtype: torch.dtype) -> Weights:
    """All tensors of a checked checkpoint."""
    path = folder / "model.safetensors"
    file = safe_open(path, framework="pt")
    return Weights(path, file, frozenset(file.keys()), device, dtype)
