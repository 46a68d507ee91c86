"""Audio files for the tests, made with numpy, soundfile and PyAV: one tone with noise in every format."""

import functools
import io
import struct
from fractions import Fraction

import av
import numpy as np
import soundfile as sf

RATE = 44_100
WITH_PYAV = {  # name: (container, codec, options of the container)
    "mp3": ("mp3", "libmp3lame", {}),
    "noxing.mp3": ("mp3", "libmp3lame", {"write_xing": "0"}),
    "aac": ("adts", "aac", {}),
    "m4a": ("ipod", "aac", {}),
    "index_first.mp4": ("mp4", "aac", {"moov_size": "16384"}),
    "fragments.mp4": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    "webm": ("webm", "libopus", {}),
    "live.webm": ("webm", "libopus", {"live": "1"}),
    "av.opus": ("ogg", "libopus", {}),
    "mka": ("matroska", "libopus", {}),
    "mkv": ("matroska", "flac", {}),
    "mov": ("mov", "alac", {}),
    "3gp": ("3gp", "aac", {}),
    "m4b": ("ipod", "alac", {}),
    "oga": ("ogg", "flac", {}),
    "caf": ("caf", "pcm_s16be", {}),
    "alac.caf": ("caf", "alac", {}),
    "au": ("au", "pcm_s16be", {}),
    "wv": ("wv", "wavpack", {}),
    "mp2": ("mp2", "mp2", {}),
    "wma": ("asf", "wmav2", {}),
    "avi": ("avi", "libmp3lame", {}),
    "mpg": ("mpeg", "mp2", {}),
    "ts": ("mpegts", "aac", {}),
    "m2ts": ("mpegts", "ac3", {"mpegts_m2ts_mode": "1"}),
    "amr": ("amr", "libopencore_amrnb", {}),
}
WITH_SOUNDFILE = {  # name: (format, subtype)
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "rf64.wav": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "alaw.wav": ("WAV", "ALAW"),
    "ms.wav": ("WAV", "MS_ADPCM"),
    "sph": ("NIST", "PCM_16"),
    "ulaw.sph": ("NIST", "ULAW"),
}
FORMATS = sorted(WITH_PYAV) + sorted(WITH_SOUNDFILE)


def tone(seconds: float = 2.0, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """float32 [n, channels] in [-1, 1]: a gliding tone with a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (len(time), channels))
    return (0.5 * np.sin(2 * np.pi * (200 + 40 * time) * time)[:, None] + noise).astype(np.float32)


@functools.cache
def sound(name: str, seconds: float = 2.0, channels: int = 1) -> bytes:
    """A whole file of the format `name`, one of FORMATS, that holds a `tone`."""
    return make(name, tone(seconds, channels, rate_of(name)))


def rate_of(name: str) -> int:
    """Hz of the files that are made of the format `name`."""
    if name.endswith("amr"):
        return 8_000
    return 48_000 if name.endswith(("opus", "webm", "mka")) else RATE


def make(name: str, wave: np.ndarray) -> bytes:
    """A whole file of the format `name` that holds `wave`, float32 [n, channels] at `rate_of(name)`."""
    if name in WITH_SOUNDFILE:
        return with_soundfile(wave, rate_of(name), *WITH_SOUNDFILE[name])
    container, codec, options = WITH_PYAV[name]
    return with_pyav(wave, rate_of(name), container, codec, options)


def with_soundfile(wave: np.ndarray, rate: int, kind: str, subtype: str) -> bytes:
    """`wave` [n, channels] as libsndfile writes it, a second at a time."""
    file = io.BytesIO()
    with sf.SoundFile(file, "w", rate, wave.shape[1], subtype, format=kind) as sound:
        for begin in range(0, len(wave), rate):
            sound.write(wave[begin : begin + rate])
    return file.getvalue()


def with_pyav(wave: np.ndarray, rate: int, container: str, codec: str, options: dict[str, str]) -> bytes:
    """`wave` [n, 1, 2 or 8] as FFmpeg writes it; variable bitrate for mp3."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[wave.shape[1]]
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if codec == "libmp3lame":
            stream.codec_context.options = {"q": "4", "compression_level": "7"}
            stream.codec_context.qscale = True
        if codec == "wavpack":
            stream.codec_context.format = "s16p"  # else 8 bit
        if codec == "wmav2":
            stream.bit_rate = 128_000  # it has no default
        resampler = av.AudioResampler(stream.codec_context.format or "fltp", layout, rate)
        for begin in range(0, len(wave), 960):
            block = wave[begin : begin + 960].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, "flt", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
            for part in resampler.resample(frame):
                output.mux(stream.encode(part))
        for part in resampler.resample(None):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def riff(form: bytes, samples: bytes, *, data_bytes: int | None = None, riff_bytes: int | None = None) -> bytes:
    """A RIFF WAV of one fmt chunk and one data chunk, with any sizes claimed."""
    data_bytes = len(samples) if data_bytes is None else data_bytes
    body = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", data_bytes) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(body) if riff_bytes is None else riff_bytes) + b"WAVE" + body


def pcm(rate: int = RATE, channels: int = 1, bits: int = 16, code: int = 1) -> bytes:
    """The body of a fmt chunk of 16 bytes."""
    align = channels * bits // 8
    return struct.pack("<HHIIHH", code, channels, rate, rate * align % 2**32, align % 2**16, bits)
