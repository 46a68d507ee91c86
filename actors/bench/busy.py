"""A checkpoint -> how busy the device is during a call, what the host launches, what memory is read and written."""

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from actors.bench.compare import seconds_of
from actors.bench.limits import host_loop, launch_count, timed
from actors.bench.speed import items_of
from actors.bench.subject import PARTS, Size, Subject, keep
from actors.bench.trace import traced

KERNELS = 8
"""Kernels that are named, those that take longest."""


def busy(subject: Subject, size: Size) -> dict[str, Any]:
    """{part: figures} of a usual call whose shapes were seen before."""
    figures: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for part in PARTS:
        keep(figures, part, left_out, partial(busy_in, subject, part, size))
    return figures | {"left_out": left_out}


def busy_in(subject: Subject, part: str, size: Size) -> dict[str, Any]:
    """Of one part: time on the device, launches, memory, kernels; operators and bytes from a trace."""
    codec = subject.load(parts=part)
    items = items_of(codec, part, (size.call_s[0], size.longest_s), 6)
    call, audio_s = partial(getattr(codec, part), items), seconds_of(part, items)
    call()
    figures = profiled(subject.device, call, audio_s) | {"memory": codec.memory()}
    plain = subject.load(parts=part, accelerate="none")  # a trace does not see what a graph replays
    getattr(plain, part)(items)  # a first call also compares cuDNN's convolutions with PyTorch's own
    launched = traced(partial(getattr(plain, part), items), subject.device.type)
    figures["operators_per_s"] = len(launched) / audio_s
    figures["moved_bytes_per_s"] = sum(one.moved for one in launched) / audio_s
    return figures


def profiled(device: torch.device, call: Callable[[], object], audio_s: float) -> dict[str, Any]:
    """`busy`: time with a kernel or a copy on the device, over the time of a call without the profiler.

    On a CPU PyTorch's operators stand for kernels, and launches are not counted.
    """
    loops, walls = zip(*((host_loop(), timed(device, call)) for _ in range(3)), strict=True)
    wall_s = statistics.median(walls)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as found:
        timed(device, call)
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    events = [event for event in found.events() if event.device_type == kind]
    on_device_s = covered((event.time_range.start, event.time_range.end) for event in events) / 1e6
    figures = {"wall_s": wall_s, "on_device_s": on_device_s, "busy": on_device_s / wall_s, "kernels": longest(events)}
    figures["host_loop_s"] = statistics.median(loops)
    if device.type == "cuda":
        figures["launches_per_s"] = launch_count(found) / audio_s
    return figures


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans: kernels and copies on two streams overlap."""
    total, end = 0.0, float("-inf")
    for low, high in sorted(spans):
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total


def longest(events: Iterable[Any]) -> dict[str, float]:
    """Name -> seconds of the kernels that take longest together; of a CPU's operators without those inside them."""
    seconds: dict[str, float] = {}
    for event in events:
        on_cpu = event.device_type == DeviceType.CPU
        own_us = event.self_cpu_time_total if on_cpu else event.time_range.elapsed_us()
        seconds[event.name] = seconds.get(event.name, 0.0) + own_us / 1e6
    return dict(sorted(seconds.items(), key=lambda one: -one[1])[:KERNELS])
