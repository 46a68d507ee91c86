"""What was asked for -> device, precision, tile shapes; figures of memory."""

import resource
import sys
from pathlib import Path

import torch

from pipeline.errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "cuda:N" -> a device that is there; auto: CUDA where there is one. Or DeviceError."""
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
    """ "auto", "fp32", "fp16" or "bf16" -> one that the device computes well; auto: fp16 on CUDA, fp32 on a CPU."""
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name not in PRECISIONS:
        raise DeviceError(f"precision is {name!r}; it can be auto, {', '.join(PRECISIONS)}.")
    if device.type == "cpu" and name == "fp16":
        raise DeviceError("precision is 'fp16' on a CPU, where its convolutions take minutes. Choose fp32 or bf16.")
    if device.type == "cpu" and name == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise DeviceError("precision is 'bf16', which this CPU does not compute. Choose fp32.")
    if device.type == "cuda" and name == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise DeviceError(f"precision is 'bf16', which {torch.cuda.get_device_name(device)} lacks. Choose fp16.")
    return name


def memory(device: torch.device) -> dict[str, int]:
    """Bytes: of this process now and at its highest, and of the device since its last `reset_peak`."""
    figures = {"host_rss": _host_rss(), "host_peak_rss": _host_peak_rss()}
    if device.type == "cuda":
        figures |= {
            "device_allocated": torch.cuda.memory_allocated(device),
            "device_reserved": torch.cuda.memory_reserved(device),
            "device_peak": torch.cuda.max_memory_allocated(device),
        }
    return figures


def reset_peak(device: torch.device) -> None:
    """Start counting the device's highest use anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _host_peak_rss() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _host_rss() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return _host_peak_rss()
    return int(statm.read_text().split()[1]) * resource.getpagesize()
