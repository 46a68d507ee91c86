"""What draws on a Matplotlib axis -> a small static <svg> element that takes its colours from the page.

Matplotlib: no script, 5 to 20 KB a picture, and the project's other pictures are made with it.
"""

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

SIZE = (4.4, 2.3)
"""Inches. 422 px: two or three beside each other on a wide screen, one on a phone, where text has 10 px."""
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
