"""A checkpoint whose weights overflow in half precision."""

import shutil
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from torch import Tensor

LOUD = "encoder.encoder.layers.0.conv.weight"
ENTRY = "decoder.quantizer.rvq_first.vq.layers.0._codebook.embedding_sum"


def changed(model: Path, folder: Path, name: str, change: Callable[[Tensor], object]) -> Path:
    """A copy of a checkpoint with a tensor changed in place."""
    shutil.copytree(model, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights[name])
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return folder
