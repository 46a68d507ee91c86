"""The use of the codebooks -> their section."""

import numpy as np

from actors.contract import FRAME_RATE
from pipeline.errors import plural
from pipeline.report.codebooks import CodebookUse
from pipeline.report.plots import columns, heat_map
from pipeline.report.section import Picture, Section, Table
from pipeline.report.words import seconds

ENOUGH = 20
"""Frames an entry; with fewer, use and entropy are still growing with the sample."""
CELLS = 128
"""Columns of the heat map of use: each stands for several codes."""


def codes_section(use: CodebookUse | None) -> Section:
    """Says so where a run has no codes."""
    title = "Codebooks"
    if use is None:
        return Section("codes", title, ["There are no codes."])
    size = use.counts.shape[1]
    of = f"{plural(use.frames, 'frame')} ({seconds(use.frames / FRAME_RATE)}) from {plural(use.parts, 'part')}"
    lead = [f"A seeded sample of {of}, each with a code of 16 books of {size:,}."]
    if use.frames < ENOUGH * size:
        lead.append(
            f"That is few: below {ENOUGH * size:,} frames the figures are lower than the corpus's own, and no sample "
            f"shows more entries than it has frames."
        )
    head = ("codebook", "entries used", "entropy", "perplexity")
    figures = zip(use.used, use.entropy_bits, use.perplexity, strict=True)
    rows = [(f"{n}", f"{u:.1%}", f"{e:.2f} bit", f"{p:,.0f}") for n, (u, e, p) in enumerate(figures)]
    return Section(
        "codes",
        title,
        lead,
        pictures=_pictures(use, size),
        tables=[Table("All 16 codebooks in numbers", head, rows, folded=True)],
    )


def _pictures(use: CodebookUse, size: int) -> list[Picture]:
    used, entropy, most = 100 * use.used, use.entropy_bits, np.log2(size)
    pictures = [
        Picture(
            columns(used, "entries used, %", f"Entries used: {used.min():.0f} to {used.max():.0f} %", 100),
            "Share of each codebook's entries that came at least once.",
        ),
        Picture(
            columns(
                entropy, "entropy, bit", f"Entropy: {entropy.min():.1f} to {entropy.max():.1f} of {most:.0f} bit", most
            ),
            f"Entropy of the codes; {most:.0f} bit is the most that {size:,} entries can have.",
        ),
        Picture(
            columns(
                use.perplexity,
                "perplexity",
                f"Perplexity: {use.perplexity.min():.0f} to {use.perplexity.max():.0f}",
                size,
            ),
            "Perplexity: so many equally frequent codes would be as hard to guess.",
        ),
        Picture(
            heat_map(_folded(use.counts), ("code", "codebook"), "How often each code of each codebook came", size),
            "How often each code came (logarithmic, dark: never).",
        ),
    ]
    for id_, codes in use.examples:
        svg = heat_map(codes.T, ("seconds", "codebook"), f"The codes of {id_} over time", len(codes) / FRAME_RATE)
        pictures.append(
            Picture(
                svg, f"The codes of {id_}: a row a codebook, a column a frame, the color is the number of the code."
            )
        )
    return pictures


def _folded(counts: np.ndarray) -> np.ndarray:
    """int64 [16, size] -> float64 [16, CELLS at most]: log(1 + how often the codes of a cell came)."""
    cells = min(CELLS, counts.shape[1])
    return np.log1p(np.add.reduceat(counts, np.arange(cells) * counts.shape[1] // cells, axis=1))
