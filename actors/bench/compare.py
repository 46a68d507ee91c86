"""Results and what they should be -> shares of equal codes, decibels."""

import numpy as np

from actors.contract import FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE

Arrays = list[np.ndarray]


def equal_codes(found: Arrays, expected: Arrays) -> dict[str, float]:
    """Share of equal codes: of all codebooks, and of codebook 0. Codes [F, 16]."""
    same = np.concatenate(found) == np.concatenate(expected)
    return {"equal": float(same.mean()), "equal_first": float(same[:, 0].mean())}


def decibels(found: Arrays, expected: Arrays) -> float:
    """Signal-to-error ratio of waves."""
    ours, theirs = np.concatenate(found), np.concatenate(expected)
    error = np.square(ours - theirs, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(theirs, dtype=np.float64).sum() / max(error, 1e-30)))


def equality(part: str, results: Arrays, truth: Arrays) -> dict[str, float]:
    """`equal_codes` of what was encoded, `decibels` of what was decoded."""
    return equal_codes(results, truth) if part == "encode" else {"decibels": decibels(results, truth)}


def seconds_of(part: str, items: Arrays) -> float:
    """Seconds of audio that waves (to encode) or codes (to decode) hold."""
    return sum(map(len, items)) / (SAMPLE_RATE if part == "encode" else FRAME_RATE)


def padded(wave: np.ndarray) -> np.ndarray:
    """Zero-padded to whole frames, as voxmill pads every recording."""
    return np.pad(wave, (0, -len(wave) % FRAME_SAMPLES))


def first_seconds(codes: Arrays, seconds: float) -> Arrays:
    """The first clips that together hold `seconds` of audio; at least one clip."""
    held = np.cumsum([len(one) for one in codes]) / FRAME_RATE
    return codes[: 1 + int(np.searchsorted(held, seconds))]
