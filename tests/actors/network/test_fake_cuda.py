"""Every path through the network on fake CUDA tensors: nothing leaves the device, types are as they should be, and the
number of kernels does not grow."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import torch

from actors.bench.trace import Launch
from actors.contract import FRAME_RATE
from tests.helpers.fake_cuda import FRAMES, build_guard

pytestmark = pytest.mark.slow
PRODUCTS = ("conv2d", "linear", "addmm_", "scaled_dot_product_attention", "embedding_bag")
OF_QUANTIZER = 1 + 2 + 16
"""Products in fp32: the last convolution, a projection for each chain, the distances to each codebook."""
HALF = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
GRAPHS = "graphs "
"""Before the part of a path whose convolutions and blocks are replayed: their kernels are not seen."""
MOST = {"encode": 201, "decode": 280, "stream encode": 324, "stream decode": 362}
"""Kernels of a path in half precision, measured: more are time that a GPU waits. Lower it with each improvement."""
MOST |= {GRAPHS + "encode": 37, GRAPHS + "decode": 48}

MOVED = {"encode": 33.6, "decode": 43.0}
"""MB of device memory read and written for each second of audio, at fp16, with what is padded in so short a call."""


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Launch]]:
    """What each path launched. One that mixes devices, or needs a value on the host, ends this with its traceback."""
    if shutil.which("g++") is None or torch.version.cuda is not None:
        pytest.skip("needs g++ and PyTorch's CPU build")
    guard = build_guard(tmp_path_factory.mktemp("guard"))
    command = [sys.executable, "-m", "tests.helpers.fake_cuda", str(guard)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: [Launch(*one) for one in path] for name, path in json.loads(done.stdout).items()}
    assert len(found) == 6 * 3 * 2
    return found


def products(path: list[Launch]) -> Counter[tuple[str, str]]:
    """(kernel, type) of products and convolutions."""
    names = ((one.name.partition(".")[0], one.kind) for one in path)
    return Counter(one for one in names if one[0] in PRODUCTS)


def test_products_are_in_the_precision_and_only_the_quantizer_in_fp32(launches: dict[str, list[Launch]]) -> None:
    for name, path in launches.items():
        part, precision = name.rsplit(" ", 2)[0], HALF[name.rsplit(" ", 2)[1]]
        if part.startswith(GRAPHS):
            continue
        found = products(path)
        if "decode" in part:
            assert {kind for _, kind in found} == {precision}, name
            continue
        assert {kind for kernel, kind in found if kernel == "scaled_dot_product_attention"} == {precision}, name
        if precision != "float32":
            quantized, left = divmod(found["linear", "float32"], OF_QUANTIZER)
            assert (quantized > 0, left, found["conv2d", "float32"]) == (True, 0, 0), name


def test_nothing_is_in_fp64_but_the_angles_of_streams(launches: dict[str, list[Launch]]) -> None:
    for name, path in launches.items():
        wide = {one.name.partition(".")[0] for one in path if one.kind == "float64"}
        assert wide == ({"arange", "mul", "cos", "sin", "neg", "cat"} if name.startswith("stream") else set()), name


def test_no_path_launches_more_than_before(launches: dict[str, list[Launch]]) -> None:
    most = dict.fromkeys(MOST, 0)
    for name, path in launches.items():
        part, precision, _ = name.rsplit(" ", 2)
        most[part] = max(most[part], len(path) if precision != "fp32" else 0)
    assert most == MOST


def test_no_path_moves_more_bytes_than_before(launches: dict[str, list[Launch]]) -> None:
    seconds = sum(FRAMES) / FRAME_RATE
    for part, most in MOVED.items():
        moved = sum(one.moved for one in launches[f"{part} fp16 full"])
        assert moved / seconds / 1e6 == pytest.approx(most, rel=0.01), part
