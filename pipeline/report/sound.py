"""A wave at 24 kHz -> what a corpus is judged by: loudness, clipping, silence, effective bandwidth."""

from dataclasses import dataclass

import av
import numpy as np

from actors.contract import SAMPLE_RATE

FULL_SCALE = 0.999
"""A sample from here on counts as clipped; resampling clipped audio overshoots."""
SILENT_DB, SILENT_S = -60.0, 0.02
"""A stretch of so many seconds counts as silence when its level (RMS) is below so many dBFS."""
WINDOW = 1024
"""Samples of the spectra that the bandwidth comes from."""
BELOW_PEAK_DB = 70.0
"""The bandwidth ends where the mean spectrum stays so far below its highest band. The noise of 16 bit lies 90 dB below
it in speech at a usual level, and speech itself 40 to 60 dB at 8 to 12 kHz."""


@dataclass(frozen=True)
class Signal:
    """Of one recording."""

    loudness_lufs: float  # integrated, EBU R 128; -70 where nothing is louder
    clipped: float  # share of samples
    silent: float  # share of stretches
    bandwidth_hz: float


def measure(wave: np.ndarray) -> Signal:
    """wave float32 [T] at 24 kHz, T > 0."""
    clipped = float((np.abs(wave) >= FULL_SCALE).mean())
    return Signal(loudness(wave), clipped, silence(wave), bandwidth(wave))


def loudness(wave: np.ndarray) -> float:
    """LUFS by FFmpeg's ebur128, which wants 0.4 s: a shorter wave is repeated."""
    repeated = np.tile(wave, -(-SAMPLE_RATE // len(wave))) if len(wave) < SAMPLE_RATE else wave
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(repeated[None], np.float32), "flt", "mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    graph.push(frame)
    graph.push(None)
    found = -70.0
    while True:
        try:
            found = float(graph.pull().metadata.get("lavfi.r128.I", found))  # the first ones lack it
        except EOFError:
            return max(-70.0, found)


def silence(wave: np.ndarray) -> float:
    """Share of stretches of SILENT_S below SILENT_DB; the last, shorter one counts only if it is the only one."""
    size = round(SILENT_S * SAMPLE_RATE)
    stretches = wave[: len(wave) // size * size].reshape(-1, size) if len(wave) >= size else wave[None]
    return float((np.square(stretches, dtype=np.float64).mean(1) < 10 ** (SILENT_DB / 10)).mean())


def bandwidth(wave: np.ndarray) -> float:
    """Hz below which nearly all of a recording lies: 4000 of telephone speech, whatever rate its file has.

    The highest frequency at which the mean power spectrum is within BELOW_PEAK_DB of its peak; 0 for silence.
    """
    padded = np.pad(wave, (0, max(0, WINDOW - len(wave))))  # no zeros behind others: the step would sound up to 12 kHz
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:: WINDOW // 2] * np.blackman(WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(0)
    if not power.max():
        return 0.0
    above = np.flatnonzero(power >= power.max() * 10 ** (-BELOW_PEAK_DB / 10))
    return float(above[-1] * SAMPLE_RATE / WINDOW)
