"""A checkpoint -> whether a call comes through where device memory runs out, and the next ones too."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import torch

from actors.bench.audio import fresh_clips
from actors.bench.compare import equal_codes
from actors.bench.subject import Size, Subject
from actors.codec import Codec


def out_of_memory(subject: Subject, size: Size, accelerate: str = "none") -> dict[str, Any]:
    """fp32 codes with all memory, with half of what the call needed beside the weights, and with all of it again.

    Graphs are captured anew where memory is short. On a CPU, whose memory is not limited, the same calls run without a
    limit.
    """
    codec = subject.load("fp32", parts="encode", tile_batch=max(size.batches), accelerate=accelerate)
    waves = fresh_clips(size.compared_s, 9, size.longest_s)
    want = codec.encode(waves)
    assert codec.encoding is not None
    graphs = codec.encoding[1].graphs
    if graphs is not None:
        graphs.forget()
    used = codec.memory()
    with limited(subject.device, used):
        got = codec.encode(waves)
    after = codec.encode(waves)
    return {
        "limited": subject.device.type == "cuda",
        "tiles_before": max(size.batches),
        "tiles_after": tiles_at_once(codec),
        "equal": equal_codes(got, want)["equal"],
        "equal_after": equal_codes(after, want)["equal"],
    }


@contextlib.contextmanager
def limited(device: torch.device, used: dict[str, int]) -> Iterator[None]:
    """Inside, a CUDA device gives this process half of the memory that a call took beside the weights."""
    if device.type != "cuda":
        yield
        return
    gc.collect()  # what is garbage now would be room later
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info(device)[1]
    room = (used["device_peak"] - used["device_allocated"]) / 2
    number = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + room) / total, number)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)


def tiles_at_once(codec: Codec) -> int | None:
    """The batch that the encoder goes on with."""
    assert codec.encoding is not None
    return codec.encoding[1].way.batch
