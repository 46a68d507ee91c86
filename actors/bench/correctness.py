"""A checkpoint and clips -> how far codes equal upstream's, those of other company, of a part alone."""

from functools import partial
from typing import Any

import numpy as np

from actors.bench.audio import fresh_clips, long_clip
from actors.bench.compare import Arrays, decibels, equal_codes, first_seconds, padded, seconds_of
from actors.bench.limits import timed
from actors.bench.subject import Size, Subject, keep
from actors.bench.variants import CLIP_BY_CLIP, one_variant
from actors.contract import FRAME_SAMPLES, SAMPLE_RATE, frame_count
from actors.device import exact


def correctness(subject: Subject, size: Size) -> dict[str, Any]:
    """Each precision against upstream in fp32 without TF32, on the same device."""
    waves = fresh_clips(size.compared_s, 1, size.longest_s)
    truth, sound = upstream_results(subject, waves, size.decoded_s)
    found: dict[str, Any] = {"seconds": seconds_of("encode", waves), "precisions": {}, "left_out": {}}
    for precision in subject.precisions:
        call = partial(against_upstream, subject, precision, waves, (truth, sound))
        keep(found["precisions"], precision, found["left_out"], call)
    return found


def upstream_results(subject: Subject, waves: Arrays, decoded_s: float) -> tuple[Arrays, Arrays]:
    """Upstream's codes of each padded clip alone, and its waves of the first of these codes."""
    upstream = one_variant(subject.folder, subject.device, CLIP_BY_CLIP, "all")
    with exact():
        truth = [codes.astype(np.int16) for codes in upstream.encode([padded(wave) for wave in waves])]
        return truth, upstream.decode(first_seconds(truth, decoded_s))


def against_upstream(
    subject: Subject, precision: str, waves: Arrays, expected: tuple[Arrays, Arrays]
) -> dict[str, Any]:
    """The engine's codes of `waves`, and its waves of the first of the expected codes, beside `expected`."""
    codec, (truth, sound) = subject.load(precision), expected
    codes, decoded = codec.encode(waves), codec.decode(truth[: len(sound)])
    same_length = [wave[: len(other)] for wave, other in zip(decoded, sound, strict=True)]
    return equal_codes(codes, truth) | {
        "per_codebook": (np.concatenate(codes) == np.concatenate(truth)).mean(0).tolist(),
        "decibels": decibels(same_length, sound),
        "overflows": codec.overflows,
    }


def company(subject: Subject, size: Size) -> dict[str, Any]:
    """Share of codes that stay equal where only other clips of the call change, by precision."""
    waves = fresh_clips(size.compared_s, 3, size.longest_s)
    found: dict[str, Any] = {"precisions": {}, "left_out": {}}
    for precision in subject.precisions:
        call = partial(in_other_company, subject, precision, waves, size.alone)
        keep(found["precisions"], precision, found["left_out"], call)
    return found


def in_other_company(subject: Subject, precision: str, waves: Arrays, alone: int) -> dict[str, float]:
    """Beside the codes of one call: called again, in another order, and the first `alone` clips alone."""
    codec, order = subject.load(precision, parts="encode"), np.random.default_rng(0).permutation(len(waves))
    codes, shuffled = codec.encode(waves), codec.encode([waves[index] for index in order])
    back = [shuffled[place] for place in np.argsort(order)]
    singles = [codec.encode([wave])[0] for wave in waves[:alone]]
    return {
        "again": equal_codes(codec.encode(waves), codes)["equal"],
        "in_another_order": equal_codes(back, codes)["equal"],
        "alone": equal_codes(singles, codes[:alone])["equal"],
    }


def long_recording(subject: Subject, size: Size) -> dict[str, Any]:
    """One long recording in one call under each attention policy."""
    wave = long_clip(size.long_s)
    start = wave[: frame_count(round(size.compared_s / 2 * SAMPLE_RATE)) * FRAME_SAMPLES]
    found: dict[str, Any] = {"seconds": size.long_s, "attention": {}, "left_out": {}}
    for attention in ("full", "window"):
        keep(found["attention"], attention, found["left_out"], partial(in_one_call, subject, attention, wave, start))
    return found


def in_one_call(subject: Subject, attention: str, wave: np.ndarray, start: np.ndarray) -> dict[str, Any]:
    """Speed and memory; and whether `start` is encoded the same alone, as by a causal codec it is."""
    codec = subject.load(attention=attention, parts="encode")
    alone, whole = codec.encode([start])[0], []
    seconds = timed(subject.device, lambda: whole.extend(codec.encode([wave])))
    same = equal_codes([whole[0][: len(alone)]], [alone])["equal"]
    return {"times_real": seconds_of("encode", [wave]) / seconds, "start_equal": same, "memory": codec.memory()}
