"""Numbers -> pictures of a page: histograms, bars, lines, heat maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import ticker

from pipeline.report.svg import SERIES, SIZE, picture

FEW_BARS = 4
"""Fewer bars are not made thicker than these."""
BINS = 24
"""Of the histogram of a sample."""
SHORT = ticker.EngFormatter(sep="")
"""40k, 1.2M: labels that fit beside the axis."""


def histogram(
    counts: np.ndarray,
    edges: np.ndarray,
    label: str,
    alt: str,
    log: bool = False,
    marks: Mapping[str, float] | None = None,
) -> str:
    """`counts` [n] of values between `edges` [n + 1]; `marks`: named values, drawn as lines."""

    def draw(axis: Any) -> None:
        axis.stairs(counts, edges, fill=True, color=SERIES[0])
        axis.set(xlabel=label, ylabel="recordings", ylim=(0, 1.15 * max(1, counts.max())))
        if log:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
        axis.yaxis.set_major_formatter(SHORT)
        for name, value in (marks or {}).items():
            axis.axvline(value, color=SERIES[1], linewidth=1.2, linestyle="--")
            axis.annotate(
                name, (value, 1), xycoords=("data", "axes fraction"), xytext=(3, -9), textcoords="offset points"
            )

    return picture(draw, alt)


def spread(values: Sequence[float], label: str, alt: str) -> str:
    """A histogram of `values`, with their median."""
    low, high = float(min(values)), float(max(values))
    room = 0.5 * (high == low) * max(1.0, abs(high)) * 0.1
    counts, edges = np.histogram(values, bins=BINS, range=(low - room, high + room))
    return histogram(counts, edges, label, alt, marks={"median": float(np.median(values))})


def bars(
    names: Sequence[str], values: Sequence[float], label: str, alt: str, texts: Sequence[str] | None = None
) -> str:
    """A horizontal bar for each of `names`, the first on top; `texts` behind them."""

    def draw(axis: Any) -> None:
        drawn = axis.barh(range(len(names)), values, color=SERIES[0], height=0.7)
        axis.set_yticks(range(len(names)), names)
        middle, half = (len(names) - 1) / 2, max(len(names), FEW_BARS) / 2
        axis.set_ylim(middle + half, middle - half)
        axis.set(xlabel=label)
        axis.grid(False, axis="y")
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
        if texts:
            axis.bar_label(drawn, texts, padding=3)
            axis.margins(x=0.25)

    return picture(draw, alt, max(SIZE[1], 0.55 + 0.26 * len(names)), 0.2 + 0.085 * max(map(len, names)))


def columns(values: np.ndarray, label: str, alt: str, top: float | None = None) -> str:
    """A column for each codebook; `top`: the most that there can be."""

    def draw(axis: Any) -> None:
        axis.bar(range(len(values)), values, color=SERIES[0], width=0.75)
        axis.set(xlabel="codebook", ylabel=label, ylim=(0, top and top * 1.03))
        axis.set_xticks(range(0, len(values), 3))
        axis.grid(False, axis="x")

    return picture(draw, alt)


def lines(
    x: np.ndarray, series: Mapping[str, np.ndarray], labels: tuple[str, str], alt: str, top: float | None = None
) -> str:
    """Each of `series` [n] over `x` [n], with a legend."""

    def draw(axis: Any) -> None:
        for (name, values), colour in zip(series.items(), SERIES, strict=False):
            axis.plot(x, values, color=colour, linewidth=1.5, label=name)
        axis.set(xlabel=labels[0], ylabel=labels[1], ylim=(0, top), xlim=(0, x[-1] if len(x) else 1))
        axis.yaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.yaxis.set_major_formatter(SHORT)
        axis.legend(
            ncols=len(series),
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0,
            handlelength=1.2,
            columnspacing=1,
        )

    return picture(draw, alt, above=0.28)


def heat_map(values: np.ndarray, labels: tuple[str, str], alt: str, right: float) -> str:
    """`values` [rows, columns] as colours, low ones dark; the x axis goes from 0 to `right`."""

    def draw(axis: Any) -> None:
        extent = (0, right, len(values) - 0.5, -0.5)
        axis.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest", extent=extent)
        axis.set(xlabel=labels[0], ylabel=labels[1])
        axis.grid(False)

    return picture(draw, alt)
