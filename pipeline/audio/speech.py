"""Channels of an open file -> the stretches of speech in each, as silero-vad finds them: `input.vad: silero`.

The network is the package's own ONNX file, which takes 16.4 s of audio in one call; on one thread it costs a third of
its frame by frame file and gives the same bits. The package's own rules, with its defaults, make stretches of its
probabilities. No audio is kept: of a stream there are its last seconds, the network's state, a probability each 32 ms.
"""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

from pipeline.audio.decode import OpenFile
from pipeline.audio.resample import mono
from pipeline.audio.views import View
from pipeline.errors import RecordingError, SettingsError

RATE = 16_000
"""Hz that the network hears."""
FRAME, CONTEXT = 512, 64
"""Samples of a frame, and of the one before it that the network hears again (`silero_vad.sequence_vad`)."""
BLOCK_FRAMES = 512
"""Of one call: always the same number, but for the last one, so that equal audio gives equal bits."""
WEIGHTS = "silero_vad_16k_sequence.onnx"


class Heard(NamedTuple):
    """What a channel holds."""

    number: int  # among the channels asked for
    stretches: list[tuple[float, float]]  # start_s and end_s in the file, ascending, to the millisecond
    error: RecordingError | None = None  # why it could not be heard to its end


def vad_version(vad: str) -> str | None:
    """The name and version of the voice activity detector, such as "silero-vad 6.2.3"; None for `vad` "none".

    Looks the package up without importing it. Raises SettingsError if it is not installed, or is an older version
    without these weights.
    """
    if vad == "none":
        return None
    found = importlib.util.find_spec("silero_vad")
    folders = (found.submodule_search_locations or []) if found else []
    if not any((Path(folder) / "data" / WEIGHTS).is_file() for folder in folders) or not _has("onnxruntime"):
        raise SettingsError(
            f"input.vad={vad} needs silero-vad with its {WEIGHTS}: pip install 'silero-vad>=6.2.3,<7' onnxruntime"
        )
    return f"silero-vad {importlib.metadata.version('silero-vad')}"


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def stretches_of(opened: OpenFile, channels: Sequence[int | None]) -> Iterator[Heard]:
    """The stretches of speech in each channel (from 1; None: the mean of all), in one pass over the file."""
    going: dict[int, _Stream] = {}
    for number, block, error in opened.read([View(channel=channel) for channel in channels]):
        stream = going.setdefault(number, _Stream(opened.rate))
        if block is not None:
            stream.feed(block)
            continue
        del going[number]
        yield Heard(number, [] if error else stream.stretches(), error)


class _Stream:
    """One channel on its way through the network."""

    def __init__(self, rate: int) -> None:
        self.stream = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
        self.waiting = [np.zeros(CONTEXT, np.float32)]  # the context, then what makes no block of frames yet
        self.samples = self.heard = 0
        self.state = {name: np.zeros((1, 1, 128), np.float32) for name in ("h", "c")}
        self.probabilities: list[np.ndarray] = []

    def feed(self, block: np.ndarray, last: bool = False) -> None:
        """float32 [n, channels] at the file's rate."""
        wave = mono(block)
        wave = wave if self.stream is None else self.stream.resample_chunk(wave, last=last)
        self.samples += len(wave)
        self.waiting.append(wave)
        if self.samples - self.heard >= BLOCK_FRAMES * FRAME:
            self._hear(BLOCK_FRAMES)

    def stretches(self) -> list[tuple[float, float]]:
        """What was found, once all was fed."""
        from silero_vad import get_speech_timestamps_from_probs

        self.feed(np.empty((0, 1), np.float32), last=True)
        missing = -(self.samples - self.heard) % FRAME
        self.waiting.append(np.zeros(missing, np.float32))
        self._hear(1)
        heard = np.concatenate([np.empty(0, np.float32), *self.probabilities]).tolist()
        found = get_speech_timestamps_from_probs(heard, RATE, audio_length_samples=self.samples)
        return [(one["start"] * 1000 // RATE / 1000, one["end"] * 1000 // RATE / 1000) for one in found]

    def _hear(self, least: int) -> None:
        """Give the network the whole frames that wait, in calls of `least` to BLOCK_FRAMES."""
        wave = np.concatenate(self.waiting)
        while (frames := min(BLOCK_FRAMES, (len(wave) - CONTEXT) // FRAME)) >= least:
            windows = np.lib.stride_tricks.sliding_window_view(wave, CONTEXT + FRAME)[: frames * FRAME : FRAME]
            given = {"input": np.ascontiguousarray(windows), **self.state}
            found, *state = _network().session.run(["speech_probs", "hn", "cn"], given)
            self.probabilities.append(found.reshape(-1))
            self.state = dict(zip(("h", "c"), state, strict=True))
            wave = wave[frames * FRAME :]
            self.heard += frames * FRAME
        self.waiting = [wave]


@functools.cache
def _network() -> Any:
    """`silero_vad.SileroVADSequence`, on one thread. The package imports PyTorch: a second of CPU, once a process."""
    from silero_vad import load_silero_vad

    return load_silero_vad(sequence=True)
