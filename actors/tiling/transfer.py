"""Host arrays -> device rows, device rows -> host arrays; on CUDA through two pinned buffers, during the compute."""

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actors.contract import FRAME_SAMPLES, frame_count
from actors.device import side_stream
from actors.errors import NonFiniteAudio
from actors.tiling.run_tiles import Span, Way
from actors.tiling.tiles import offsets

HOST: Any = {"dtype": torch.float32, "device": "cpu"}
"""Of buffers for samples: the caller's defaults may be others."""
INAUDIBLE = 1e-30
"""Beside the biases of the first layer, which are added to every sample, this is nothing in any precision."""


def audible(rows: Tensor) -> Tensor:
    """Samples on the CPU with zeros for those below INAUDIBLE: CPUs take thirty times as long for products of numbers
    below 1e-38, of which a tail that fades out in a float WAV has many."""
    return torch.nn.functional.hardshrink(rows, INAUDIBLE)


class Finite:
    """Whether all numbers of some tensors are finite: looked at where they are, in one pass each, and asked once."""

    def __init__(self) -> None:
        self.extremes: list[Tensor] = []  # NaN where there is one

    def look(self, tensor: Tensor) -> Tensor:
        """`tensor`, not empty, which counts from now on."""
        self.extremes.extend(torch.aminmax(tensor))
        return tensor

    def __bool__(self) -> bool:
        """Waits for the device."""
        return bool(torch.stack(self.extremes).isfinite().all()) if self.extremes else True


class WaveRows:
    """Frames of waves float32 [T] laid end to end in an order, each padded with zeros to whole frames: a `Load` of rows
    of FRAME_SAMPLES."""

    def __init__(self, waves: Sequence[np.ndarray], order: Sequence[int], way: Way) -> None:
        self.waves, self.order, self.way = waves, order, way
        self.first = offsets([frame_count(len(waves[number])) for number in order])
        self.finite = Finite()

    def __call__(self, spans: Sequence[Span]) -> Iterator[Tensor]:
        if self.way.device.type == "cuda":
            yield from self._uploaded(spans)
            return
        for low, high in spans:
            rows = torch.empty(high - low, FRAME_SAMPLES, **HOST)
            self._fill(low, high, rows)
            yield audible(self.finite.look(rows)).to(self.way.dtype)

    def refuse_non_finite(self) -> None:
        """Raises NonFiniteAudio at NaN or infinity in what was loaded. Waits for the device."""
        if not self.finite:
            number = next(number for number, wave in enumerate(self.waves) if not np.isfinite(wave).all())
            raise NonFiniteAudio(f"wave {number} holds NaN or infinity; every sample must be a finite number.")

    def _fill(self, low: int, high: int, rows: Tensor) -> None:
        """Write the rows [low, high) of all."""
        flat, written, first = rows.numpy().reshape(-1), 0, self.first
        for index in range(bisect.bisect_right(first, low) - 1, len(self.order)):
            if first[index] >= high:
                break
            start = max(low, first[index])
            wave = self.waves[self.order[index]]
            piece = wave[(start - first[index]) * FRAME_SAMPLES : (high - first[index]) * FRAME_SAMPLES]
            at = (start - low) * FRAME_SAMPLES
            flat[written:at] = 0  # the end of the frame that the one before did not fill
            flat[at : at + len(piece)] = piece
            written = at + len(piece)
        flat[written:] = 0

    def _uploaded(self, spans: Sequence[Span]) -> Iterator[Tensor]:
        """Yields the rows of one span; those of the next are filled and copied while these are computed."""
        stream = side_stream(self.way.device, "upload")
        largest = max(high - low for low, high in spans)
        buffers = [torch.empty(largest, FRAME_SAMPLES, pin_memory=True, **HOST) for _ in range(2)]
        copied: list[torch.cuda.Event | None] = [None, None]

        def start(number: int) -> Tensor:
            low, high = spans[number]
            buffer, before = buffers[number % 2][: high - low], copied[number % 2]
            if before is not None:
                before.synchronize()  # its previous content has been copied
            self._fill(low, high, buffer)
            with torch.cuda.stream(stream):
                rows = self.finite.look(buffer.to(self.way.device, non_blocking=True)).to(self.way.dtype)
                copied[number % 2] = stream.record_event()
            return rows

        ahead = start(0)
        for number in range(len(spans)):
            rows, arrived = ahead, copied[number % 2]
            compute = torch.cuda.current_stream(self.way.device)
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
    stream = side_stream(device, "download")
    buffers: list[Tensor | None] = [None, None]
    behind: tuple[Tensor, torch.cuda.Event] | None = None
    for number, part in enumerate(parts):
        buffer = buffers[number % 2]
        if buffer is None or buffer.numel() < part.numel():
            buffer = buffers[number % 2] = torch.empty(part.numel(), dtype=part.dtype, device="cpu", pin_memory=True)
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
