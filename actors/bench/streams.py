"""A checkpoint -> how far a stream's codes and audio equal those of one call, and how long it takes for a piece."""

from functools import partial
from typing import Any

import numpy as np

from actors.bench.audio import fresh_clips, long_clip
from actors.bench.compare import decibels, equal_codes
from actors.bench.limits import timed
from actors.bench.subject import Size, Subject
from actors.contract import FRAME_SAMPLES

PIECE = 4_000
"""Samples that a stream is fed at once where codes are compared: no whole number of frames."""
LIVE_S = 20.0
"""Seconds of audio that are fed a frame at a time: twice the window, so that half of it is compared with a full one."""


def streams(subject: Subject, size: Size) -> dict[str, Any]:
    """In fp32: a stream's codes beside those of one call, and a stream's audio of these codes beside one call's."""
    codec, wave = subject.load("fp32", attention="window"), fresh_clips(size.compared_s, 1, size.longest_s)[0]
    encoder, decoder, codes = codec.stream_encoder(), codec.stream_decoder(), codec.encode([wave])[0]
    pieces = [encoder.feed(wave[start : start + PIECE]) for start in range(0, len(wave), PIECE)]
    played = [decoder.feed(codes[start : start + 3]) for start in range(0, len(codes), 3)]
    found = equal_codes([*pieces, encoder.flush()], [codes]) | {"decibels": decibels(played, codec.decode([codes]))}
    return found | {"live": live(subject, min(LIVE_S, size.long_s))}


def live(subject: Subject, seconds: float) -> dict[str, Any]:
    """In the device's precision: milliseconds for a frame (80 ms of audio), {part: [median, 99th percentile]}."""
    codec = subject.load(attention="window")
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    frames = np.split(wave := long_clip(seconds), range(FRAME_SAMPLES, len(wave), FRAME_SAMPLES))
    codes = codec.encode([wave])[0]
    fed = {"encode": [partial(encoder.feed, frame) for frame in frames]}
    fed["decode"] = [partial(decoder.feed, codes[frame : frame + 1]) for frame in range(len(codes))]
    found: dict[str, Any] = {"precision": codec.precision}
    for part, calls in fed.items():
        calls[0]()  # kernels are chosen
        found[part] = (1e3 * np.percentile([timed(subject.device, call) for call in calls[1:]], [50, 99])).tolist()
    return found
