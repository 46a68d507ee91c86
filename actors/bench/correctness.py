"""A checkpoint and clips -> how far codes equal upstream's, those of other company, those of streams, those of parts."""

from typing import Any

import numpy as np

from actors.bench.audio import fresh_clips, long_clip
from actors.bench.compare import Arrays, decibels, equal_codes, first_seconds, padded
from actors.bench.limits import timed
from actors.bench.subject import Size, Subject
from actors.bench.variants import CLIP_BY_CLIP, one_variant
from actors.codec import Codec
from actors.contract import SAMPLE_RATE, frame_count
from actors.device import exact

PIECE = 4_000
"""Samples that a stream is fed at once: no whole number of frames."""


def correctness(subject: Subject, size: Size) -> dict[str, Any]:
    """Each precision against upstream and against itself in other company; streams against calls, in fp32."""
    waves = fresh_clips(size.compared_s, 1, size.longest_s)
    truth, sound = upstream_results(subject, waves, size.decoded_s)
    precisions = {}
    for precision in subject.precisions:
        codec = subject.load(precision)
        precisions[precision] = against(codec, waves, truth, sound) | company(codec, waves, size.alone)
        del codec  # one at a time on the device
    streams = against_calls(subject.load("fp32", attention="window"), waves[0])
    return {"seconds": sum(map(len, waves)) / SAMPLE_RATE, "precisions": precisions, "streams": streams}


def upstream_results(subject: Subject, waves: Arrays, decoded_s: float) -> tuple[Arrays, Arrays]:
    """Upstream's codes of each padded clip alone, in fp32 without TF32, and its waves of the first of them."""
    upstream = one_variant(subject.folder, subject.device, CLIP_BY_CLIP, "all")
    with exact():
        truth = [codes.astype(np.int16) for codes in upstream.encode([padded(wave) for wave in waves])]
        return truth, upstream.decode(first_seconds(truth, decoded_s))


def against(codec: Codec, waves: Arrays, truth: Arrays, sound: Arrays) -> dict[str, Any]:
    """The engine's codes of `waves` beside `truth`; its waves of the first of `truth` beside `sound`."""
    codes, decoded = codec.encode(waves), codec.decode(truth[: len(sound)])
    per_codebook = (np.concatenate(codes) == np.concatenate(truth)).mean(0).tolist()
    same_length = [wave[: len(other)] for wave, other in zip(decoded, sound, strict=True)]
    return equal_codes(codes, truth) | {
        "per_codebook": per_codebook,
        "decibels": decibels(same_length, sound),
        "overflows": codec.overflows,
    }


def company(codec: Codec, waves: Arrays, alone: int) -> dict[str, float]:
    """Share of codes equal to those of one call: called again, in another order, and the first `alone` clips alone."""
    codes, order = codec.encode(waves), np.random.default_rng(0).permutation(len(waves))
    shuffled = codec.encode([waves[index] for index in order])
    back = [shuffled[place] for place in np.argsort(order)]
    singles = [codec.encode([wave])[0] for wave in waves[:alone]]
    return {
        "again": equal_codes(codec.encode(waves), codes)["equal"],
        "in_another_order": equal_codes(back, codes)["equal"],
        "alone": equal_codes(singles, codes[:alone])["equal"],
    }


def against_calls(codec: Codec, wave: np.ndarray) -> dict[str, float]:
    """A stream's codes of `wave` beside those of one call, and a stream's audio of these codes beside one call's."""
    encoder, decoder, codes = codec.stream_encoder(), codec.stream_decoder(), codec.encode([wave])[0]
    pieces = [encoder.feed(wave[start : start + PIECE]) for start in range(0, len(wave), PIECE)]
    played = [decoder.feed(codes[start : start + 3]) for start in range(0, len(codes), 3)]
    return equal_codes([*pieces, encoder.flush()], [codes]) | {"decibels": decibels(played, codec.decode([codes]))}


def long_recording(subject: Subject, size: Size) -> dict[str, Any]:
    """One long recording in one call under each attention policy: speed, memory, and whether its start is encoded as
    that start alone is, which is what a causal codec promises."""
    wave, found = long_clip(size.long_s), {}
    start = wave[: frame_count(round(size.compared_s / 2 * SAMPLE_RATE)) * 1920]
    for attention in ("full", "window"):
        codec = subject.load(attention=attention, parts="encode")
        alone, results = codec.encode([start])[0], []
        seconds = timed(subject.device, lambda codec=codec, results=results: results.extend(codec.encode([wave])))
        found[attention] = {"times_real": size.long_s / seconds, "memory": codec.memory()}
        found[attention] |= {"start_equal": equal_codes([results[0][: len(alone)]], [alone])["equal"]}
        del codec
    return {"seconds": size.long_s, "attention": found}
