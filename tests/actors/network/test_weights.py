"""Tensors of a checkpoint's file: read once, checked, upcast, independent of the file; only the half that is wanted."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from actors.codec import Codec
from actors.network.weights import open_weights
from pipeline.errors import ModelError
from tests.helpers.engine import CPU
from tests.helpers.signals import noise


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_names_below_a_prefix(tmp_path: Path) -> None:
    weights = open_weights(write(tmp_path, {"a.3.b.weight": torch.ones(2, 3)}), CPU, torch.float64).at("a").at(3)
    assert weights.at("b").read("weight", 2, 3).dtype == torch.float32
    assert weights.at("b").get("weight", 2, 3).dtype == torch.float64
    assert weights.in_fp32().get("b.weight", 2, 3).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_of_a_file_is_read_as_fp32(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = torch.randn(100).to(dtype)
    seen = open_weights(write(tmp_path, {"x": stored}), CPU, torch.float32).read("x", 100)
    assert seen.dtype == torch.float32
    assert torch.equal(seen, stored.float())


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    weights = open_weights(write(tmp_path, {"x": torch.ones(4)}), CPU, torch.float32)
    weights.get("x", 4).zero_()
    assert weights.get("x", 4).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("tensor", "seen"),
    [
        (torch.ones(2), "missing"),
        (torch.ones(3, 2), "a.x is torch.float32 [3, 2]"),
        (torch.ones(6), "a.x is torch.float32 [6]"),
        (torch.ones(2, 3, dtype=torch.int8), "a.x is torch.int8 [2, 3]"),
    ],
)
def test_another_tensor_than_the_config_implies(tmp_path: Path, tensor: torch.Tensor, seen: str) -> None:
    name = "a.y" if seen == "missing" else "a.x"
    weights = open_weights(write(tmp_path, {name: tensor}), CPU, torch.float32).at("a")
    with pytest.raises(ModelError) as raised:
        weights.read("x", 2, 3)
    assert seen in str(raised.value)
    assert "a.x" in str(raised.value)
    assert "expected floats [2, 3]" in str(raised.value)


@pytest.mark.parametrize("half", ["encode", "decode"])
def test_only_the_wanted_half_is_read(small_model: Path, tmp_path: Path, half: str) -> None:
    folder = tmp_path / "half"
    shutil.copytree(small_model, folder)
    tensors = load_file(small_model / "model.safetensors")
    write(folder, {name: one for name, one in tensors.items() if name.startswith(half)})  # encoder. or decoder.
    codec = Codec.load(str(folder), device="cpu", parts=half)
    assert (codec.encoding is None, codec.decoding is None) == (half == "decode", half == "encode")
    with pytest.raises(ModelError, match="lacks a weight"):
        Codec.load(str(folder), device="cpu")


def test_the_file_may_go_once_it_is_loaded(small_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_model, tmp_path / "model")
    codec = Codec.load(str(folder), device="cpu")
    before = codec.encode([noise(30_000)])[0]
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(0)  # a mapped page of it would end the process
    assert (codec.encode([noise(30_000)])[0] == before).all()
    assert codec.decode([before])[0].any()


@pytest.mark.parametrize(
    "name",
    ["encoder.downsample.conv.weight", "decoder.decoder.1.block.2.act1.alpha", "decoder.pre_transformer.norm.weight"],
)
def test_one_missing_weight_is_refused_by_name(small_model: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(small_model, tmp_path / "model")
    tensors = load_file(small_model / "model.safetensors")
    tensors.pop(name)
    write(folder, tensors)
    with pytest.raises(ModelError, match=f"{re.escape(name)} is missing"):
        Codec.load(str(folder), device="cpu")
