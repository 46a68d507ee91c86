"""A wave -> a file of a format that speech corpora come in."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile
import soxr

from actors.contract import SAMPLE_RATE

BLOCK = 960
"""Samples that FFmpeg and libvorbis are given at once: libsndfile overflows the stack over long blocks of Vorbis."""
STEREO_DELAY, STEREO_GAIN = 7, 0.8
"""Of the right channel behind the left one: two equal channels would be a special case for encoders."""


@dataclass(frozen=True)
class Kind:
    """Format, rate and channels of a file."""

    suffix: str
    rate: int  # Hz
    channels: int  # 1 or 2

    def __str__(self) -> str:
        return f"{self.suffix} {self.rate / 1000:g} kHz {('mono', 'stereo')[self.channels - 1]}"


KINDS = (
    *(Kind("wav", 44_100, 1), Kind("wav", 44_100, 2), Kind("flac", 16_000, 1)),
    *(Kind("flac", 44_100, 2), Kind("flac", 48_000, 2), Kind("mp3", 44_100, 1), Kind("mp3", 44_100, 2)),
    *(Kind("ogg", 44_100, 2), Kind("opus", 48_000, 2), Kind("m4a", 44_100, 2)),
)
FFMPEG = {"mp3": ("mp3", "libmp3lame", 96_000), "opus": ("ogg", "libopus", 64_000), "m4a": ("ipod", "aac", 96_000)}
"""suffix: (container, encoder, bits a second)"""


def write_sound(path: Path, wave: np.ndarray, kind: Kind) -> None:
    """Write `wave`, float32 [T] at 24 kHz in [-1, 1], to `path` as `kind`: PCM of 16 bit, or compressed."""
    samples = soxr.resample(wave, SAMPLE_RATE, kind.rate)[:, None]
    if kind.channels == 2:
        samples = np.concatenate([samples, STEREO_GAIN * np.roll(samples, STEREO_DELAY)], 1)
    samples = samples.clip(-1, 1).astype(np.float32)
    if kind.suffix in FFMPEG:
        _encode(path, samples, kind.rate, *FFMPEG[kind.suffix])
        return
    with soundfile.SoundFile(path, "w", kind.rate, kind.channels) as file:
        for begin in range(0, len(samples), BLOCK):
            file.write(samples[begin : begin + BLOCK])


def _encode(path: Path, samples: np.ndarray, rate: int, container: str, codec: str, bit_rate: int) -> None:
    """`samples` float32 [n, 1 or 2] as FFmpeg writes them."""
    layout = ("mono", "stereo")[samples.shape[1] - 1]
    with av.open(path, "w", format=container) as output:
        stream = cast(av.AudioStream, output.add_stream(codec, rate=rate, layout=layout))
        stream.bit_rate = bit_rate
        convert = av.AudioResampler(stream.codec_context.format or "fltp", layout, rate).resample
        for begin in range(0, len(samples), BLOCK):
            block = np.ascontiguousarray(samples[begin : begin + BLOCK].T)
            frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
            for part in convert(frame):
                output.mux(stream.encode(part))
        for part in convert(None):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
