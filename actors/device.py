"""Settings -> device and precision; the way to compute on it; memory figures."""

import contextlib
import functools
import resource
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from actors.errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:N" -> an available device; auto: CUDA if available. Raises DeviceError."""
    kind, _, number = name.partition(":")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (":" in name and not number.isdecimal()):
        raise DeviceError(f"device is {name!r}; it can be auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        why = "this PyTorch has no CUDA" if torch.version.cuda is None else "no CUDA device can be used"
        raise DeviceError(f"device is {name!r}, but {why} (PyTorch {torch.__version__}). Choose cpu or auto.")
    if number and int(number) >= torch.cuda.device_count():
        raise DeviceError(f"device is {name!r}, but there are {torch.cuda.device_count()}; count from cuda:0.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """ "auto", "fp32", "fp16" or "bf16" -> a precision that the device supports; auto: fp16 on CUDA, fp32 on a CPU.

    Raises DeviceError.
    """
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name not in PRECISIONS:
        raise DeviceError(f"precision is {name!r}; it can be auto, {', '.join(PRECISIONS)}.")
    if device.type == "cpu" and name == "fp16":
        raise DeviceError("precision is 'fp16' on a CPU, where its convolutions take minutes. Choose fp32 or bf16.")
    if device.type == "cpu" and name == "bf16" and not cpu_has_bf16():
        raise DeviceError("precision is 'bf16', which this CPU does not compute. Choose fp32.")
    if device.type == "cuda" and name == "bf16" and not cuda_has_bf16(device):
        raise DeviceError(f"precision is 'bf16', which {torch.cuda.get_device_name(device)} lacks. Choose fp16.")
    return name


def cuda_has_bf16(device: torch.device) -> bool:
    """Whether a GPU computes in bf16 itself: from compute capability 8.0 on."""
    with current(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_has_bf16() -> bool:
    """Whether PyTorch's CPU library runs bf16 products here (AVX-512 or AMX on x86, BF16 on Arm)."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""Kernels of attention on CUDA, in the order in which they are tried. Not cuDNN's, which PyTorch prefers on Hopper: it
builds a plan for every new shape, tens of milliseconds of the host, and nearly every batch of recordings is one."""

_CUDA = threading.RLock()
"""Held during a call on CUDA: graphs replay into fixed memory, and the flags of `exact` are those of the process."""


class _InFp32:
    """While any thread is inside, a CPU rounds fp32 inputs of products and convolutions to no other type.

    `torch.set_float32_matmul_precision("medium")`, which trainers advise for their GPUs, has it round them to bf16.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, ("", "")

    def __enter__(self) -> None:
        products, convolutions = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv  # type: ignore[attr-defined]
        with self.lock:
            if not self.inside:
                self.before = products.fp32_precision, convolutions.fp32_precision
                products.fp32_precision = convolutions.fp32_precision = "ieee"
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        products, convolutions = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv  # type: ignore[attr-defined]
        with self.lock:
            self.inside -= 1
            if not self.inside:
                products.fp32_precision, convolutions.fp32_precision = self.before


ON_CPU = _InFp32()


@contextlib.contextmanager
def computing(device: torch.device, allow_tf32: bool = False) -> Iterator[None]:
    """While inside, the engine's way to compute: calls of several threads on CUDA one after the other.

    In the precision of the weights: the caller's autocast is off.
    """
    with contextlib.ExitStack() as inside:
        inside.enter_context(torch.inference_mode())
        inside.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cpu":
            inside.enter_context(ON_CPU)
        if device.type == "cuda":
            inside.enter_context(_CUDA)
            inside.enter_context(current(device))
            inside.enter_context(exact(allow_tf32))
            inside.enter_context(sdpa_kernel(list(ATTENTION), set_priority=True))
        yield


def current(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """While inside, the device is CUDA's current device: streams, events and graphs are created on that."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def side_stream(device: torch.device, purpose: str) -> torch.cuda.Stream:
    """The one stream of a device for `purpose`: memory that was used on a stream is kept for that stream alone, and a
    new stream for each call would be the next of PyTorch's 32. Calls that use one hold the lock of `computing`, and
    have ended when the next begins."""
    return _stream(torch.cuda.current_device() if device.index is None else device.index, purpose)


def uploaded(arrays: Sequence[np.ndarray], device: torch.device) -> list[torch.Tensor]:
    """Arrays of one type -> tensors on the device, in one copy. The host goes on before the device has come to it."""
    flat = torch.from_numpy(np.concatenate(arrays))
    if device.type == "cuda":
        flat = flat.pin_memory()
    return list(flat.to(device, non_blocking=True).split([len(one) for one in arrays]))


@functools.cache
def _stream(number: int, purpose: str) -> torch.cuda.Stream:
    return torch.cuda.Stream(number)


@contextlib.contextmanager
def exact(allow_tf32: bool = False) -> Iterator[None]:
    """While inside, CUDA rounds fp32 inputs of products and convolutions to TF32 only if allowed; it sums fp16 and bf16
    in fp32; and cuDNN chooses kernels by its rules, not by timing them (`benchmark`), which differs from call to call.

    By `fp32_precision`: the older `allow_tf32` cannot be read once `torch.backends.fp32_precision` was set.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = products.fp32_precision, convolutions.fp32_precision
    reduced = products.allow_fp16_reduced_precision_reduction, products.allow_bf16_reduced_precision_reduction
    timing, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    products.fp32_precision = convolutions.fp32_precision = "tf32" if allow_tf32 else "ieee"
    products.allow_fp16_reduced_precision_reduction = products.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        products.fp32_precision, convolutions.fp32_precision = before
        products.allow_fp16_reduced_precision_reduction, products.allow_bf16_reduced_precision_reduction = reduced
        torch.backends.cudnn.benchmark = timing


def memory(device: torch.device) -> dict[str, int]:
    """Bytes: of this process now and at its peak, and of the device since the last `reset_peak`."""
    figures = {"host_rss": _host_rss(), "host_peak_rss": _host_peak_rss()}
    if device.type == "cuda":
        figures |= {
            "device_allocated": torch.cuda.memory_allocated(device),
            "device_reserved": torch.cuda.memory_reserved(device),
            "device_peak": torch.cuda.max_memory_allocated(device),
        }
    return figures


def reset_peak(device: torch.device) -> None:
    """Reset the device's peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def times_full(device: torch.device) -> int:
    """How often PyTorch has found no memory on the device."""
    return torch.cuda.memory_stats(device).get("num_ooms", 0) if device.type == "cuda" else 0


def _host_rss() -> int:
    return _kernel_figure("/proc/self/status", "VmRSS") or _most_resident()


def _host_peak_rss() -> int:
    """Peak of this program alone: getrusage would include the process that it was forked from."""
    return _kernel_figure("/proc/self/status", "VmHWM") or _most_resident()


def host_free() -> int | None:
    """Bytes of host memory that are available now; None where the system does not say."""
    return _kernel_figure("/proc/meminfo", "MemAvailable")


def _kernel_figure(file: str, key: str) -> int | None:
    """Bytes under `key` of a file of Linux's /proc; None elsewhere, and where it lacks the key (in gVisor)."""
    if not Path(file).exists():
        return None
    values = dict(line.partition(":")[::2] for line in Path(file).read_text().splitlines())
    return int(values[key].split()[0]) * 1024 if key in values else None


def _most_resident() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
