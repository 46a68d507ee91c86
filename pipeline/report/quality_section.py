"""The sample's reconstructions -> their distances to the originals, beside what is published of the official codec."""

import numpy as np

from pipeline.errors import plural
from pipeline.report.plots import spread
from pipeline.report.section import Picture, Section, Table
from pipeline.report.survey import Measured, Survey

UNITS = {"log-mel distance": "mean absolute difference, nat (lower is better)", "SI-SDR": "dB (higher is better)"}
PUBLISHED_FROM = (
    "Published, not measured here: figures of the codecs' authors on their own test set, from the table of "
    "semantic-related speech tokenizers in the README of QwenLM/Qwen3-TTS (Qwen3-TTS Technical Report, arXiv "
    "2601.15621)"
)
PUBLISHED = (
    ("Qwen-TTS-Tokenizer-12Hz, 16 codebooks", "3.21", "3.68", "0.96", "4.16", "0.95"),
    ("Mimi, 16 codebooks", "2.88", "3.42", "0.94", "3.87", "0.87"),
)
PUBLISHED_HEAD = ("codec", "PESQ WB", "PESQ NB", "STOI", "UTMOS", "speaker similarity")


def quality_section(heard: Survey) -> Section:
    """Distributions over the sample; says which measures are not installed, and where there are no reconstructions."""
    measured = [one for one in heard.measured if one.quality]
    title = "How close reconstructions are"
    published = Table(PUBLISHED_FROM, PUBLISHED_HEAD, PUBLISHED)
    if not measured:
        return Section("quality", title, ["No recording of the sample could be compared with a reconstruction."])
    names = list(dict.fromkeys(name for one in measured for name in one.quality))
    lead = [
        f"A random sample of {plural(len(measured), 'recording')}, the first {heard.longest_s:g} s of each at most: "
        "the reconstruction against the source at 24 kHz.",
        "SI-SDR asks for the same waveform, which a codec of 2.2 kbit/s does not keep: compare it between runs only.",
    ]
    absent = [name for name, package in (("STOI", "pystoi"), ("PESQ WB", "pesq")) if name not in names]
    if absent:
        lead.append(f"Not measured: {', '.join(absent)} (packages pystoi and pesq; the recordings may be too short).")
    head = ("measure", "mean", "worst 5 %", "median", "best 5 %", "recordings")
    table = Table("This run, measured on the sample", head, [_row(name, measured) for name in names])
    return Section(
        "quality", title, lead, pictures=[_picture(name, measured) for name in names], tables=[table, published]
    )


def _values(name: str, measured: list[Measured]) -> list[float]:
    return [one.quality[name] for one in measured if name in one.quality]


def _row(name: str, measured: list[Measured]) -> tuple[str, ...]:
    values = _values(name, measured)
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    worst, best = (high, low) if name == "log-mel distance" else (low, high)
    return (name, *(f"{value:.2f}" for value in (float(np.mean(values)), worst, middle, best)), f"{len(values):,}")


def _picture(name: str, measured: list[Measured]) -> Picture:
    values = _values(name, measured)
    of = f"sample of {plural(len(values), 'recording')}"
    return Picture(
        spread(values, UNITS.get(name, "higher is better"), f"{name}, {of}: median {np.median(values):.2f}"),
        f"{name} ({of}).",
    )
