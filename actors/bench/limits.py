"""A device -> its measured peak rates of matrix products and copies; FLOP and kernel launches of a call."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

SIZE = {"cpu": 1536, "cuda": 8192}
"""Rows and columns of the measured product: large enough to reach the peak."""


def timed(device: torch.device, call: Callable[[], object]) -> float:
    """Seconds of one call, the device's work included."""
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def host_loop() -> float:
    """Seconds of 100,000 additions in Python: a shared host may be half as fast at times, and launch half as fast."""
    start, total = time.perf_counter(), 0
    for number in range(100_000):
        total += number
    return time.perf_counter() - start


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of six square matrix products."""
    size = SIZE[device.type]
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    return 2 * size**3 / min(timed(device, lambda: left @ right) for _ in range(6))


def copy_rate(device: torch.device) -> float:
    """Bytes/s from pinned host memory to a CUDA device."""
    host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    there = torch.empty_like(host, device=device)
    return host.numel() / min(timed(device, lambda: there.copy_(host, non_blocking=True)) for _ in range(5))


def device_copy_rate(device: torch.device) -> float:
    """Bytes/s read and written by a copy within the device's memory, larger than its caches."""
    source = torch.zeros(1 << (30 if device.type == "cuda" else 26), dtype=torch.uint8, device=device)
    there = torch.zeros_like(source)
    return 2 * source.numel() / min(timed(device, lambda: there.copy_(source)) for _ in range(5))


def flops(call: Callable[[], object]) -> int:
    """FLOP of the products and convolutions of one call: two per multiplication."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def launches(call: Callable[[], object]) -> int:
    """Kernels and graphs that the host launches on a CUDA device in one call."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
    return launch_count(profile)


def launch_count(found: torch.profiler.profile) -> int:
    """Launches of kernels and of graphs in a profile of a CUDA device."""
    return sum(event.count for event in found.key_averages() if "Launch" in event.key)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
