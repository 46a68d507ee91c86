"""Host arrays -> device rows, device rows -> host arrays; on CUDA through two pinned buffers, during the compute."""

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from actors.contract import FRAME_SAMPLES, frame_count
from actors.errors import NonFiniteAudio
from actors.tiling.run_tiles import Load, Span, Way
from actors.tiling.tiles import offsets

Fill = Callable[[int, int, np.ndarray], None]
"""Write rows [low, high) into an array float32 [high - low, width]."""


def audio_rows(waves: Sequence[np.ndarray], order: Sequence[int], way: Way) -> Load:
    """Frames of waves float32 [T] laid end to end in that order, each padded with zeros to whole frames: rows of
    FRAME_SAMPLES.

    `Load` raises NonFiniteAudio at NaN or infinity: samples are looked at as they are copied, while a GPU computes.
    """
    first = offsets([frame_count(len(waves[number])) for number in order])

    def fill(low: int, high: int, out: np.ndarray) -> None:
        flat, written = out.reshape(-1), 0
        for index in range(bisect.bisect_right(first, low) - 1, len(order)):
            if first[index] >= high:
                break
            number, start = order[index], max(low, first[index])
            piece = waves[number][(start - first[index]) * FRAME_SAMPLES : (high - first[index]) * FRAME_SAMPLES]
            if not np.isfinite(piece).all():
                raise NonFiniteAudio(f"wave {number} holds NaN or infinity; every sample must be a finite number.")
            at = (start - low) * FRAME_SAMPLES
            flat[written:at] = 0  # the end of the frame that the one before did not fill
            flat[at : at + len(piece)] = piece
            written = at + len(piece)
        flat[written:] = 0

    def load(spans: Sequence[Span]) -> Iterator[Tensor]:
        if way.device.type == "cuda":
            return _uploaded(fill, FRAME_SAMPLES, spans, way)
        return (_filled(fill, span).to(way.dtype) for span in spans)

    return load


def _filled(fill: Fill, span: Span) -> Tensor:
    out = np.empty((span[1] - span[0], FRAME_SAMPLES), np.float32)
    fill(*span, out)
    return torch.from_numpy(out)


def _uploaded(fill: Fill, width: int, spans: Sequence[Span], way: Way) -> Iterator[Tensor]:
    """Yields the rows of one span; those of the next are filled and copied while these are computed."""
    stream = torch.cuda.Stream(way.device)
    largest = max(high - low for low, high in spans)
    buffers = [torch.empty(largest, width, pin_memory=True) for _ in range(2)]
    copied: list[torch.cuda.Event | None] = [None, None]

    def start(number: int) -> Tensor:
        low, high = spans[number]
        buffer, before = buffers[number % 2][: high - low], copied[number % 2]
        if before is not None:
            before.synchronize()  # its previous content has been copied
        fill(low, high, buffer.numpy())
        with torch.cuda.stream(stream):
            rows = buffer.to(way.device, non_blocking=True).to(way.dtype)
            copied[number % 2] = stream.record_event()
        return rows

    ahead = start(0)
    for number in range(len(spans)):
        rows, arrived = ahead, copied[number % 2]
        compute = torch.cuda.current_stream(way.device)
        assert arrived is not None
        compute.wait_event(arrived)
        rows.record_stream(compute)
        yield rows  # what is computed of them has been launched when this goes on
        if number + 1 < len(spans):
            ahead = start(number + 1)


def fetched(parts: Iterable[Tensor], total: int, device: torch.device) -> np.ndarray:
    """Pieces [rows, width] of one type -> one array [total, width] on the host."""
    out: np.ndarray | None = None
    row = 0
    for part in _downloaded(parts, device) if device.type == "cuda" else parts:
        if out is None:
            out = np.empty((total, part.shape[1]), part.numpy().dtype)
        out[row : row + len(part)] = part.numpy()
        row += len(part)
    assert out is not None, "no rows"
    return out


def _downloaded(parts: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Each piece on the host, one behind the compute: a piece is read while the next one is computed."""
    stream = torch.cuda.Stream(device)
    buffers: list[Tensor | None] = [None, None]
    behind: tuple[Tensor, torch.cuda.Event] | None = None
    for number, part in enumerate(parts):
        buffer = buffers[number % 2]
        if buffer is None or buffer.numel() < part.numel():
            buffer = buffers[number % 2] = torch.empty(part.numel(), dtype=part.dtype, pin_memory=True)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            host = buffer[: part.numel()].view(part.shape)
            host.copy_(part, non_blocking=True)
            part.record_stream(stream)
            arrived = stream.record_event()
        if behind is not None:
            behind[1].synchronize()
            yield behind[0]
        behind = host, arrived
    if behind is not None:
        behind[1].synchronize()
        yield behind[0]
