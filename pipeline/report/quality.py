"""A recording and its reconstruction -> how far they are apart, by the measures that are installed."""

import importlib.util
import warnings
from collections.abc import Callable

import numpy as np
import soxr

from actors.contract import SAMPLE_RATE

SHORTEST_S = 0.5
"""Shorter pairs are not measured: STOI and PESQ have no frames then."""
NO_STOI = 1e-5
PESQ_RATES = {"PESQ WB": (16_000, "wb"), "PESQ NB": (8_000, "nb")}
"""(Hz, the mode of pesq): ITU-T P.862.2 and P.862.1."""


def measures() -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Name -> function of (reconstruction, recording), float32 [T] at 24 kHz; those whose packages are here."""
    from actors.measures import distance, si_sdr  # PyTorch: only where there is a pair to compare

    found: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"log-mel distance": distance, "SI-SDR": si_sdr}
    if importlib.util.find_spec("pystoi"):
        found["STOI"] = _stoi
    if importlib.util.find_spec("pesq"):
        found |= {name: _pesq(*how) for name, how in PESQ_RATES.items()}
    return found


def compare(output: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Each of `measures`; none where one of both is silent or too short, and without those that are not finite."""
    if len(target) < SHORTEST_S * SAMPLE_RATE or not (output.any() and target.any()):
        return {}
    found = {name: measure(output, target) for name, measure in measures().items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _stoi(output: np.ndarray, target: np.ndarray) -> float:
    """NaN where there are fewer than 30 frames of sound, for which pystoi warns and returns NO_STOI."""
    from actors.measures import intelligibility

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = intelligibility(output, target)
    return value if value > NO_STOI else float("nan")


def _pesq(rate: int, mode: str) -> Callable[[np.ndarray, np.ndarray], float]:
    def measure(output: np.ndarray, target: np.ndarray) -> float:
        from pesq import PesqError, pesq

        ours, theirs = (soxr.resample(wave, SAMPLE_RATE, rate) for wave in (output, target))
        # RETURN_VALUES: -1 instead of an exception where it finds no speech
        value = float(pesq(rate, theirs, ours, mode, on_error=PesqError.RETURN_VALUES))
        return value if value > 0 else float("nan")

    return measure
