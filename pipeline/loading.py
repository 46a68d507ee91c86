"""A path, a URI, bytes or an array -> one wave at 24 kHz, the samples that a run reads: for notebooks and `Codec`."""

import contextlib
import io
import numbers
import os
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from actors.contract import RATES
from pipeline.audio.decode import MAX_CHANNELS, open_audio
from pipeline.audio.resample import resample
from pipeline.errors import EmptyAudio, InputError, UnreadableAudio, UnsupportedAudio
from pipeline.storage.location import file_name
from pipeline.storage.opening import open_recording
from pipeline.storage.text import clean_id

Bytes = bytes | bytearray | memoryview
Sound = str | os.PathLike[str] | Bytes | io.BytesIO | tuple[Any, int]
SCALES = {"int16": 2.0**-15, "int32": 2.0**-31, "float32": 1.0, "float64": 1.0}
"""Of the samples of an array, by their type: to [-1, 1)."""


class SourceRules(NamedTuple):
    """Settings of a run that decide what is read of its sources: `input.column`, `track`, `allow_truncated`."""

    column: str | None = None
    track: int | None = None
    allow_truncated: bool = False


AS_IT_IS = SourceRules()
"""By the defaults."""


def source_rules(summary: Mapping[str, Any]) -> SourceRules:
    """Those of a run, by its summary."""
    given = summary.get("settings", {}).get("input", {})
    return SourceRules(**{name: given[name] for name in SourceRules._fields if name in given})


def load_audio(
    sound: Sound,
    channel: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    track: int | None = None,
    allow_truncated: bool = False,
) -> np.ndarray:
    """float32 [T] at 24 kHz: the mean over all channels of `sound`, or its `channel` (from 1); `start_s` to `end_s`.

    `track`: which audio track of a file with several, from 1; None: the default one, else the first. `allow_truncated`:
    what can be decoded of a file that ends early.

    `sound`: a path, a URI, the bytes of a file (or a BytesIO of them), or (samples, rate in Hz), samples [n], [1, n] or
    [n, channels] of floats in [-1, 1] or of int16 or int32: what NumPy takes for an array, PyTorch's among them. Raises
    RecordingError for what cannot be read, with the message that a run's failure has, and InputError for other types.
    """
    _check_view(channel, start_s, end_s, track)
    opened, name = _open(sound)
    view: dict[str, Any] = {"start_s": start_s or 0.0, "end_s": end_s, "channel": channel}
    rules: dict[str, Any] = {"track": track, "allow_truncated": allow_truncated}
    with opened as file, open_audio(file, name, **view, **rules) as audio:
        blocks = list(resample(audio.blocks, audio.rate))
    if not blocks:
        raise EmptyAudio(f"{name}: no samples; expected at least one.")
    return np.concatenate(blocks)


def _check_view(channel: object, start_s: object, end_s: object, track: object) -> None:
    """Raise InputError for values of other types than `load_audio` says."""
    if channel is not None and not isinstance(channel, numbers.Integral):
        raise InputError(f"channel is {channel!r}; expected a whole number from 1, or None for the mean over all.")
    for name, value in (("start_s", start_s), ("end_s", end_s)):
        if value is not None and not isinstance(value, numbers.Real):
            raise InputError(f"{name} is {value!r}; expected a number of seconds, or None.")
    if track is not None and not (isinstance(track, numbers.Integral) and int(track) > 0):
        raise InputError(f"track is {track!r}; expected a whole number from 1, or None for the default one.")


def _open(sound: Sound) -> tuple[AbstractContextManager[BinaryIO], str]:
    """`sound` as a file, and its name in messages."""
    if isinstance(sound, tuple) and len(sound) == 2 and np.ndim(sound[0]) and not np.ndim(sound[1]):
        return contextlib.nullcontext(io.BytesIO(_wav(*sound))), "the array"
    if isinstance(sound, Bytes | io.BytesIO):
        data = sound.getvalue() if isinstance(sound, io.BytesIO) else bytes(sound)
        return contextlib.nullcontext(io.BytesIO(data)), f"{len(data)} bytes"
    if not isinstance(sound, str | os.PathLike):
        raise InputError(
            f"load_audio was given {_shown(sound)}; it takes a path, a URI, the bytes of a file, or"
            " (samples, rate in Hz) in this order."
        )
    location = os.fspath(sound)
    if not location:
        raise UnreadableAudio("the path is empty; expected the path or URI of a file.")
    return open_recording(location), clean_id(file_name(location))


def _shown(sound: object) -> str:
    """The type of `sound`; of a tuple the types of what it holds."""
    return f"({', '.join(map(_shown, sound))})" if isinstance(sound, tuple) else type(sound).__name__


def _wav(given: Any, rate: int) -> bytes:
    """A WAV of float32 whose header says that it goes on to its end: so it may be larger than 4 GiB."""
    floating = hasattr(given, "detach") and given.is_floating_point()  # a tensor: with a gradient, on a GPU, in bf16
    samples = np.asarray(given.detach().cpu().float() if floating else given)
    wave = samples[:, None] if samples.ndim == 1 else samples
    wave = wave.T if len(wave) == 1 else wave
    if wave.dtype.name not in SCALES or wave.ndim != 2 or not 0 < wave.shape[1] <= min(MAX_CHANNELS, len(wave) or 1):
        raise UnsupportedAudio(
            f"an array {list(samples.shape)} of {samples.dtype}; expected samples [n] or [n, channels] of"
            f" {', '.join(SCALES)}. Transpose it if channels come first."
        )
    if rate not in RATES:
        raise UnsupportedAudio(f"an array at {rate!r} Hz; expected a whole number in {RATES.start}-{RATES.stop - 1}.")
    channels, unknown = wave.shape[1], 0xFFFFFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, channels, int(rate), int(rate) * channels * 4, channels * 4, 32)
    with np.errstate(over="ignore"):  # infinity is told further down
        scaled = (wave * SCALES[wave.dtype.name]).astype("<f4")
    return (
        b"RIFF" + struct.pack("<I", unknown) + b"WAVE" + form + struct.pack("<4sI", b"data", unknown) + scaled.tobytes()
    )
