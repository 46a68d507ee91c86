"""A `Corpus`, and the signals of its sample -> the section on what was read."""

from collections.abc import Callable

import numpy as np

from pipeline.errors import plural
from pipeline.report.corpus import DURATIONS_S, Corpus
from pipeline.report.plots import bars, histogram, spread
from pipeline.report.section import Picture, Section
from pipeline.report.survey import Measured, Survey
from pipeline.report.words import share

MOST_BARS = 10
BARS = 30
"""Of the picture of durations, about."""
NARROW = 0.75
"""A recording counts as upsampled when its bandwidth is below this share of what its rate could hold."""
CODEC_HZ = 12_000.0
"""What 24 kHz holds: more is not looked for."""
SILENT_LUFS = -69.9
KINDS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("rate", "Source rates (exact)", lambda value: f"{int(value) / 1000:g} kHz"),
    ("channels", "Channels of the sources (exact)", lambda value: plural(int(value), "channel")),
    ("format", "Formats by suffix (exact)", lambda value: value),
)
"""Of `Corpus.by`: its key, the caption of its picture, how its values are written."""


def corpus_section(corpus: Corpus, heard: Survey) -> Section:
    """Exact figures from the columns, then those of the sample."""
    lead = []
    pictures = []
    if corpus.recordings:
        lead.append(
            f"Durations from {corpus.shortest_s:,.2f} to {corpus.longest_s:,.2f} s; half of the recordings last "
            f"{corpus.length_s(0.5):,.2f} s or less, 95 % {corpus.length_s(0.95):,.2f} s or less."
        )
        pictures.append(_durations(corpus))
    kinds = [_kind(corpus, *kind) for kind in KINDS]
    pictures += [picture for picture in kinds if picture]
    if heard.measured:
        pictures += _signals(heard.measured)
        lead += [_sampled(heard), *_upsampled(heard.measured)]
    else:
        lead.append(
            f"None of {plural(heard.drawn, 'sampled source')} could be read again as the run read it: nothing is said"
            " of sound."
        )
    return Section("corpus", "The corpus", lead, pictures=pictures)


def _durations(corpus: Corpus) -> Picture:
    """The fine bins that hold any, some together, so that about BARS are left."""
    inner = corpus.durations[1:-1]
    full = np.flatnonzero(inner)
    first, last = (int(full[0]), int(full[-1]) + 1) if len(full) else (0, 1)
    size = -(-(last - first) // BARS)
    starts = np.arange(first, last, size)
    edges = DURATIONS_S[np.minimum([*starts, starts[-1] + size], len(DURATIONS_S) - 1)]
    alt = f"Histogram of durations, median {corpus.length_s(0.5):,.2f} s"
    marks = {"median": corpus.length_s(0.5)}
    svg = histogram(np.add.reduceat(inner[:last], starts), edges, "seconds", alt, log=True, marks=marks)
    return Picture(svg, "Durations of all recordings (exact).")


def _kind(corpus: Corpus, kind: str, caption: str, name: Callable[[str], str]) -> Picture | None:
    found = sorted(corpus.by.get(kind, {}).items(), key=lambda item: -item[1][1])
    if not found:
        return None
    shown = [(name(value), *counts) for value, counts in found[:MOST_BARS]]
    if found[MOST_BARS:]:
        others = [counts for _, counts in found[MOST_BARS:]]
        shown.append((f"{len(others)} others", sum(count for count, _ in others), sum(h for _, h in others)))
    texts = [f"{count:,}" for _, count, _ in shown]
    alt = f"{caption}: " + ", ".join(f"{label} {plural(count, 'recording')}" for label, count, _ in shown)
    unit, factor = ("hours", 1) if sum(h for _, _, h in shown) >= 2 else ("minutes", 60)
    svg = bars([label for label, _, _ in shown], [h * factor for _, _, h in shown], unit, alt, texts)
    return Picture(svg, f"{caption}: {unit} of audio, number of recordings.")


def _signals(measured: list[Measured]) -> list[Picture]:
    of = f"sample of {plural(len(measured), 'recording')}"
    signals = [one.signal for one in measured]
    loud = [one.loudness_lufs for one in signals if one.loudness_lufs > SILENT_LUFS]
    figures = [
        (loud, "LUFS", "Loudness (EBU R 128, integrated)"),
        ([100 * one.clipped for one in signals], "samples at full scale, %", "Clipping"),
        ([100 * one.silent for one in signals], "stretches of 20 ms below -60 dBFS, %", "Silence"),
        ([one.bandwidth_hz / 1000 for one in signals], "kHz", "Effective bandwidth, of 12 kHz that the codec has"),
    ]
    return [
        Picture(spread(values, label, f"{caption}, {of}: median {np.median(values):.3g} {label}"), f"{caption} ({of}).")
        for values, label, caption in figures
        if values
    ]


def _sampled(heard: Survey) -> str:
    gone = f"; {heard.gone:,} more could not be read any more, or have changed" if heard.gone else ""
    return (
        "Loudness, clipping, silence and bandwidth come from a random sample of "
        f"{plural(len(heard.measured), 'recording')} with codes, read again from their sources, {heard.longest_s:g} s "
        f"of each at most{gone}."
    )


def _upsampled(measured: list[Measured]) -> list[str]:
    """A sentence on recordings that hold less than their rate promises."""
    narrow = [one for one in measured if 0 < one.signal.bandwidth_hz < NARROW * min(one.source_rate / 2, CODEC_HZ)]
    if not narrow:
        return ["None of them holds much less than its sample rate could: no upsampled telephone speech was seen."]
    least = min(narrow, key=lambda one: one.signal.bandwidth_hz)
    widest = max(one.signal.bandwidth_hz for one in narrow)
    return [
        f"{len(narrow):,} of them ({share(len(narrow), len(measured))}) hold nothing above {widest / 1000:.1f} kHz "
        f"although their rate could hold more, such as {least.id} ({least.source_rate / 1000:g} kHz, sound up to "
        f"{least.signal.bandwidth_hz / 1000:.1f} kHz): upsampled, or coded with a low-pass."
    ]
