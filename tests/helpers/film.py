"""Containers with a picture and two audio tracks."""

import io
from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition

from tests.helpers.sounds import tone


def film(container: str, codec: str, default: int | None = None, picture: str = "mpeg2video", size: int = 64) -> bytes:
    """Two seconds of moving noise and two audio tracks: silence in English, a tone in German."""
    file, rng, rate = io.BytesIO(), np.random.default_rng(0), 48_000
    with av.open(file, "w", format=container) as output:
        video = output.add_stream(picture, rate=25)
        video.width = video.height = size
        video.pix_fmt = "yuvj420p" if picture == "mjpeg" else "yuv420p"
        tracks = [output.add_stream(codec, rate=rate, layout="mono") for _ in range(2)]
        for number, (track, language) in enumerate(zip(tracks, ("eng", "deu"), strict=True)):
            track.metadata["language"] = language
            track.disposition = Disposition.default if number == default else Disposition(0)
        for _ in range(50):
            noise = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            output.mux(video.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
        for track, level in zip(tracks, (0, 1), strict=True):
            whole = level * tone(2.0, 1, rate)
            for begin in range(0, 2 * rate, 1_152):
                wave = whole[begin : begin + 1_152]
                sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = rate, begin, Fraction(1, rate)
                for part in av.AudioResampler(track.codec_context.format, "mono", rate).resample(sound):
                    output.mux(track.encode(part))
            output.mux(track.encode(None))
        output.mux(video.encode(None))
    return file.getvalue()
