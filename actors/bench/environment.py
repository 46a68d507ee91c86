"""A device -> what the figures depend on: hardware, versions, peak rates, the attention kernel that PyTorch picks."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from actors.bench.limits import copy_rate, device_copy_rate, product_rate
from actors.bench.subject import Size, Subject
from actors.device import PRECISIONS, computing

PACKAGES = ("torch", "transformers", "qwen-tts", "numpy", "triton")


def environment(subject: Subject, size: Size) -> dict[str, Any]:
    """Names, versions, memory and rates."""
    device, types = subject.device, {name: PRECISIONS[name] for name in subject.precisions}
    found: dict[str, Any] = {
        "versions": versions(),
        "product_flops": {name: product_rate(device, dtype) for name, dtype in types.items()},
        "copied_bytes_per_s": device_copy_rate(device),
        "attention": {name: attention_kernels(device, dtype) for name, dtype in types.items()},
    }
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        about = torch.cuda.get_device_properties(device)
        found |= {"gpu": about.name, "capability": f"{about.major}.{about.minor}", "sms": about.multi_processor_count}
        found |= {"from_host_bytes_per_s": copy_rate(device), "free_bytes": free, "total_bytes": total}
    return found


def versions() -> dict[str, str | int | None]:
    """Of Python, of packages that are installed, of CUDA and cuDNN as PyTorch has them."""
    found: dict[str, str | int | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found | {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def attention_kernels(device: torch.device, dtype: torch.dtype) -> list[str]:
    """PyTorch's operators for a causal attention, as the engine calls it."""
    x = torch.randn(2, 8, 250, 64, device=device).to(dtype)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with computing(device), torch.profiler.profile(activities=activities) as profile:
        F.scaled_dot_product_attention(x, x, x, is_causal=True)
    keys = [event.key for event in profile.key_averages()]
    return [key for key in keys if "attention" in key and key != "aten::scaled_dot_product_attention"]


def machine(device: torch.device) -> dict[str, Any]:
    """Device, threads, cores and versions that the figures depend on."""
    found = {"device": str(device), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    found |= {"torch": torch.__version__, "cpu": _cpu_name()}
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {torch.backends.cpu.get_cpu_capability()}" if names else platform.processor()
