"""Devices, precisions, figures of memory."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.codec import Codec
from actors.device import choose_device, choose_precision, cpu_has_bf16, exact, memory
from pipeline.errors import DeviceError
from tests.helpers.rows import tone

CPU = torch.device("cpu")


def test_auto_is_what_is_there() -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == kind
    assert choose_precision("auto", choose_device("auto")) == ("fp16" if kind == "cuda" else "fp32")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "", "mps"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(DeviceError, match="auto, cpu, cuda or cuda:N"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_cuda_that_is_not_there(name: str) -> None:
    with pytest.raises(DeviceError, match="Choose cpu or auto"):
        choose_device(name)


@pytest.mark.gpu
def test_cuda_of_a_number_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="count from cuda:0"):
        choose_device("cuda:99")


@pytest.fixture
def kept_flags() -> Iterator[None]:
    """What a test sets of PyTorch's global flags is undone."""
    kept = torch.backends.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    timing = torch.backends.cudnn.benchmark
    on_cpu = torch.backends.mkldnn.matmul.fp32_precision, torch.backends.mkldnn.conv.fp32_precision
    yield
    torch.backends.fp32_precision, torch.backends.cuda.matmul.fp32_precision = kept
    torch.backends.cudnn.benchmark = timing
    torch.backends.mkldnn.matmul.fp32_precision, torch.backends.mkldnn.conv.fp32_precision = on_cpu


def flags() -> tuple[object, ...]:
    products = torch.backends.cuda.matmul
    reduced = products.allow_fp16_reduced_precision_reduction, products.allow_bf16_reduced_precision_reduction
    return products.fp32_precision, torch.backends.cudnn.conv.fp32_precision, *reduced, torch.backends.cudnn.benchmark


@pytest.mark.parametrize("notebook", ["", "fp32_precision", "allow_tf32", "benchmark"])
@pytest.mark.usefixtures("kept_flags")
def test_precision_flags_are_as_they_were_afterwards(notebook: str) -> None:
    if notebook == "fp32_precision":
        torch.backends.fp32_precision = "tf32"
    if notebook == "allow_tf32":
        torch.backends.cuda.matmul.allow_tf32 = True
    if notebook == "benchmark":
        torch.backends.cudnn.benchmark = True
    before = flags()
    with exact(allow_tf32=True):
        assert flags() == ("tf32", "tf32", False, False, False)
        with exact():
            assert flags() == ("ieee", "ieee", False, False, False)
        assert flags() == ("tf32", "tf32", False, False, False)
    assert flags() == before


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU rounds nothing to bf16")
@pytest.mark.usefixtures("kept_flags")
def test_a_cpu_computes_in_fp32_whatever_the_process_says(small_model: Path) -> None:
    wave = [tone(2.0)]

    def run() -> list[np.ndarray]:
        codec = Codec.load(str(small_model), "cpu", "fp32")
        codes = codec.encode(wave)
        return [*codes, *codec.decode(codes)]

    expected = run()
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    left, right = torch.randn(2, 64, 64)
    assert (left @ right - left.double() @ right.double()).abs().max() > 1e-3
    with ThreadPoolExecutor() as threads:
        for found in threads.map(lambda _: run(), range(3)):
            assert all(map(np.array_equal, found, expected))
    assert torch.backends.mkldnn.matmul.fp32_precision == torch.backends.mkldnn.conv.fp32_precision == "bf16"


def test_memory_grows_with_what_is_held() -> None:
    before = memory(CPU)["host_rss"]
    held = torch.ones(50 << 20)
    after = memory(CPU)
    assert after["host_rss"] - before > 150e6
    assert after["host_peak_rss"] >= after["host_rss"]
    assert held.sum() > 0


def test_memory_where_proc_lacks_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "Name:\tpython\nVmRSS:\t1024 kB\n")  # as gVisor's
    found = memory(CPU)
    assert (found["host_rss"], found["host_peak_rss"] > 50e6) == (1 << 20, True)


def test_the_engine_loads_and_runs_without_ray_or_upstream() -> None:
    heavy = {"ray", "transformers", "qwen_tts", "accelerate", "sklearn", "scipy", "librosa", "soxr"}
    code = "import numpy, sys; from actors.codec import Codec; codec = Codec.load('demo', device='cpu');"
    code += f"codec.decode(codec.encode([numpy.zeros(5000, 'f')])); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
