"""Waves and codes -> PNG pictures, legible on light and on dark pages: no background, letters in a middle grey."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from actors.contract import FRAME_RATE, SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY, BLUE = "#808080", "#4c8dd6"
"""Each has a contrast of at least 3.4 to 1 with white and with the near-black of dark themes."""
INCHES, DPI = 9.0, 100
WINDOW, HOP = 1024, 256
"""Samples of a column of a spectrogram, and from one to the next: 43 and 11 ms."""
RANGE_DB = 80.0
"""A spectrogram is black so far below its loudest point."""
COLUMNS = 2000
"""Bars of a drawn wave: more than the picture has pixels."""


def recording_png(wave: np.ndarray | None, codes: np.ndarray) -> bytes:
    """The wave and its spectrogram, if there is a `wave` float32 [T] at 24 kHz, above `codes` int16 [F, 16]."""
    heights = [1.6] if wave is None else [0.9, 1.9, 1.6]
    figure, rows = _figure(heights)
    if wave is not None:
        _draw_wave(rows[0], wave)
        level = _levels(wave)
        _draw_spectrogram(rows[1], level, float(level.max()))
    _draw_codes(rows[-1], codes)
    return _png(figure, rows)


def spectrograms_png(waves: Mapping[str, np.ndarray]) -> bytes:
    """Spectrograms of `waves` float32 [T] at 24 kHz, by title, one above the other: one scale of time, one of level."""
    figure, rows = _figure([1.7] * len(waves))
    levels = [_levels(wave) for wave in waves.values()]
    top = max(float(level.max()) for level in levels)
    for axes, title, level in zip(rows, waves, levels, strict=True):
        _draw_spectrogram(axes, level, top)
        axes.set_title(title, loc="left", color=GREY, fontsize=9)
    return _png(figure, rows)


def _figure(heights: list[float]) -> "tuple[Figure, list[Axes]]":
    """Rows of these heights, in inches, that share the axis of time."""
    from matplotlib.figure import Figure  # without pyplot: no window, nothing that stays behind

    figure = Figure(figsize=(INCHES, sum(heights) + 0.5), dpi=DPI, layout="constrained")
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    return figure, list(rows)


def _draw_wave(axes: "Axes", wave: np.ndarray) -> None:
    """Highest and lowest sample of each of at most COLUMNS equal stretches."""
    starts = np.unique(np.linspace(0, len(wave) - 1, min(COLUMNS, len(wave))).astype(int))
    low, high = np.minimum.reduceat(wave, starts), np.maximum.reduceat(wave, starts)
    axes.fill_between(starts / SAMPLE_RATE, low, high, color=BLUE, linewidth=0.5)
    axes.set_ylabel("wave", color=GREY)
    axes.margins(x=0)


def _levels(wave: np.ndarray) -> np.ndarray:
    """`wave` [T] -> dB [513, 1 + T // HOP], a column centred on every HOP-th sample; silence is -180 dB."""
    padded = np.pad(wave, WINDOW // 2)
    columns = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    return 20 * np.log10(np.maximum(np.abs(np.fft.rfft(columns)), 1e-9)).T


def _draw_spectrogram(axes: "Axes", level: np.ndarray, top: float) -> None:
    """`level` of `_levels`; `top`: that of the brightest colour."""
    extent = (0.0, level.shape[1] * HOP / SAMPLE_RATE, 0.0, SAMPLE_RATE / 2000)
    axes.imshow(level, aspect="auto", origin="lower", cmap="magma", vmin=top - RANGE_DB, vmax=top, extent=extent)
    axes.set_ylabel("kHz", color=GREY)


def _draw_codes(axes: "Axes", codes: np.ndarray) -> None:
    frames, codebooks = codes.shape
    extent = (0.0, frames / FRAME_RATE, codebooks - 0.5, -0.5)
    axes.imshow(codes.T, aspect="auto", interpolation="nearest", cmap="viridis", extent=extent)
    axes.set_yticks([0, 5, 10, 15])
    axes.set_ylabel("codebook", color=GREY)


def _png(figure: "Figure", rows: "list[Axes]") -> bytes:
    """256 colours: a quarter of the bytes, and no difference to the eye."""
    from PIL import Image

    for axes in rows:
        axes.tick_params(colors=GREY, labelsize=8)
        axes.spines[:].set_color(GREY)
    rows[-1].set_xlabel("seconds", color=GREY)
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", transparent=True)
    Image.open(whole).quantize(256, Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return small.getvalue()
