"""A checkpoint -> how busy the device is during a call, what the host launches, what memory is read and written."""

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from actors.bench.compare import seconds_of
from actors.bench.limits import timed
from actors.bench.speed import PARTS, items_of
from actors.bench.subject import Size, Subject
from actors.bench.trace import traced

KERNELS = 8
"""Kernels that are named, those that take longest."""


def busy(subject: Subject, size: Size) -> dict[str, Any]:
    """{part: figures} of a usual call whose shapes were seen before; on a CPU its operators stand for kernels."""
    figures = {}
    for part in PARTS:
        codec = subject.load(parts=part)
        items = items_of(codec, part, size.call_s[0], size, 6)
        call = partial(getattr(codec, part), items)
        call()
        figures[part] = profiled(subject.device, call, seconds_of(part, items)) | {"memory": codec.memory()}
        del codec, call
        plain = subject.load(parts=part, accelerate="none")  # what a graph replays is not seen by a trace
        launched = traced(partial(getattr(plain, part), items), subject.device.type)
        audio_s = seconds_of(part, items)
        figures[part]["operators_per_s"] = len(launched) / audio_s
        figures[part]["moved_bytes_per_s"] = sum(one.moved for one in launched) / audio_s
    return figures


def profiled(device: torch.device, call: Callable[[], object], audio_s: float) -> dict[str, Any]:
    """`busy`: time with a kernel or a copy on the device, over a call's time without the profiler."""
    wall_s = statistics.median(timed(device, call) for _ in range(3))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as found:
        timed(device, call)
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    events = [event for event in found.events() if event.device_type == kind]
    on_device_s = covered((event.time_range.start, event.time_range.end) for event in events) / 1e6
    figures = {"wall_s": wall_s, "on_device_s": on_device_s, "busy": on_device_s / wall_s}
    if device.type == "cuda":
        launches = sum(event.count for event in found.key_averages() if "Launch" in event.key)
        figures |= {"launches": launches, "launches_per_s": launches / audio_s}
    return figures | {"kernels": longest(events)}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans: kernels and copies on two streams overlap."""
    total, end = 0.0, float("-inf")
    for low, high in sorted(spans):
        total += max(0.0, high - max(low, end))
        end = max(end, high)
    return total


def longest(events: Iterable[Any]) -> dict[str, float]:
    """Name -> seconds of the kernels that take longest together."""
    seconds: dict[str, float] = {}
    for event in events:
        own = event.self_cpu_time_total if event.device_type == DeviceType.CPU else event.self_device_time_total
        seconds[event.name] = seconds.get(event.name, 0.0) + own / 1e6
    return dict(sorted(seconds.items(), key=lambda one: -one[1])[:KERNELS])
