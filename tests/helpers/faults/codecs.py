"""Codecs that fail like a device or a library: they kill their process, or run out of memory."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import cloudpickle

import pipeline.flow
from actors.codec import Codec
from actors.errors import BadCodes
from pipeline.cluster.load import CodecSpec, load_codec
from tests.helpers.faults.corpus import LOUD_SAMPLE, POISON_SAMPLES

SLOW_S = 0.3
TILES_THAT_FIT = 2
MUTE_FRAMES = 10
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


class Poisoned:
    """A codec whose process dies of a wave of POISON_SAMPLES."""

    def __init__(self, codec: Codec, mark: Path) -> None:
        self.codec, self.mark = codec, mark

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """As the codec's own. Touches `mark` before the first death."""
        if any(len(wave) == POISON_SAMPLES for wave in waves):
            if not self.mark.exists():
                self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.codec.encode(waves)


class Mute:
    """A codec that cannot decode codes of less than MUTE_FRAMES."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def decode(self, codes: list[np.ndarray], pcm16: bool = False) -> list[np.ndarray]:
        """As the codec's own."""
        if any(len(one) < MUTE_FRAMES for one in codes):
            raise BadCodes("too short for this codec")
        return self.codec.decode(codes, pcm16)


class Slow:
    """A codec that takes SLOW_S longer for a call, so that a fault can hit it during the call."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """As the codec's own."""
        time.sleep(SLOW_S)
        return self.codec.encode(waves)


class Narrow:
    """Convolutions with memory for TILES_THAT_FIT tiles at once, and for no tile that contains LOUD_SAMPLE."""

    def __init__(self, stack: Callable[..., torch.Tensor], mark: Path) -> None:
        self.stack, self.mark = stack, mark

    def __call__(self, rows: torch.Tensor, carried: Any = None) -> torch.Tensor:
        """As the stack's own. Touches `mark` before the first time that memory runs out."""
        if len(rows) > TILES_THAT_FIT or rows.max() >= LOUD_SAMPLE:
            if not self.mark.exists():
                self.mark.touch()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        return self.stack(rows, carried)


def mute(spec: CodecSpec) -> Any:
    """For `instead_of_codecs`."""
    codec = load_codec(spec)
    return Mute(codec) if spec.part == "decode" else codec


def slow(spec: CodecSpec) -> Any:
    """For `instead_of_codecs`."""
    codec = load_codec(spec)
    return Slow(codec) if spec.part == "encode" else codec


def poisoned(mark: Path) -> Callable[[CodecSpec], Any]:
    """For `instead_of_codecs`."""

    def load(spec: CodecSpec) -> Any:
        codec = load_codec(spec)
        return Poisoned(codec, mark) if spec.part == "encode" else codec

    return load


def narrow(mark: Path) -> Callable[[CodecSpec], Any]:
    """For `instead_of_codecs`: an engine that works as on a GPU, many tiles with halos at once."""

    def load(spec: CodecSpec) -> Any:
        codec = Codec.load(spec.model, "cpu", "fp32", threads=1, tile_s=0.5, tile_batch=16, parts=spec.part)
        if codec.encoding is not None:
            codec.encoding[1].stack = Narrow(codec.encoding[1].stack, mark)
        return codec

    return load


@contextmanager
def instead_of_codecs(load: Callable[[CodecSpec], Any]) -> Iterator[None]:
    """Inside, the pools of a run load their codecs with `load`, in their own processes."""
    pipeline.flow.load_codec = load
    try:
        yield
    finally:
        pipeline.flow.load_codec = load_codec
