"""Numbers -> small static SVGs, which take their colours from the page: text is currentColor, series are CSS variables.

Matplotlib draws them: no script, 5 to 20 KB each, and it is what the project's other pictures are made with.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

SIZE = (4.4, 2.3)
"""Inches. 422 px: two or three beside each other on a wide screen, one on a phone, where text shrinks to no less than
9 px."""
FEW_BARS = 4
"""Fewer bars are not made thicker than these."""
INK, GRID = "#010203", "#040506"
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04")
COLOURS = {INK: "currentColor", GRID: "var(--grid)"} | {name: f"var(--c{i + 1})" for i, name in enumerate(SERIES)}
"""Colours that no picture has otherwise, and what replaces them."""
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "voxmill",  # the same picture is the same bytes
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "grid.color": GRID,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
SHORT = ticker.EngFormatter(sep="")
"""40k, 1.2M: labels that fit beside the axis."""
NO_METADATA: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def picture(
    draw: Callable[[Any], None], alt: str, height: float = SIZE[1], left: float = 0.6, above: float = 0.08
) -> str:
    """What `draw` draws on an axis, as an <svg> element with `alt` for those who do not see it.

    `height` of all, room to the `left` of the axis and `above` it, in inches. A layout engine that finds them takes as
    long as drawing.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], height))
        figure.patch.set_alpha(0)
        sides = {"left": left / SIZE[0], "right": 1 - 0.12 / SIZE[0]}
        axis = figure.subplots(gridspec_kw={**sides, "bottom": 0.45 / height, "top": 1 - above / height})
        axis.patch.set_alpha(0)
        draw(axis)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    return _for_html(file.getvalue(), alt)


REMOVED = re.compile(
    r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|font-family: [^;\"]*;? ?"
    r'| id="(figure|axes|patch|line2d|text|matplotlib|xtick|ytick|legend|image|QuadMesh|PolyCollection)[^"]*"',
    re.DOTALL,
)
"""Of an SVG file: what names its maker, styles the whole page, or is an id that every picture has."""


def _for_html(svg: str, alt: str) -> str:
    """An SVG file -> an element of an HTML page: as wide as its place, in the page's colours and font."""
    head, _, inside = svg[svg.index("<svg") :].partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    inside = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", REMOVED.sub("", inside))
    for seen, wanted in COLOURS.items():
        inside = inside.replace(seen, wanted)
    inside = re.sub(r"\s*\n\s*", "\n", inside)
    return f'<svg role="img" aria-label="{escape(alt)}" {box[0] if box else ""}>{inside}'


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


def spread(values: Sequence[float], label: str, alt: str, bins: int = 24, **marks: float) -> str:
    """A histogram of `values`, with their median and other `marks`."""
    low, high = float(min(values)), float(max(values))
    room = 0.5 * (high == low) * max(1.0, abs(high)) * 0.1
    counts, edges = np.histogram(values, bins=bins, range=(low - room, high + room))
    return histogram(counts, edges, label, alt, marks={"median": float(np.median(values)), **marks})


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
