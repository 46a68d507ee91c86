"""run.json and what the parts hold -> how they differ: parts that were deleted since, or that are not the run's own."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import listed
from pipeline.report.corpus import Corpus

MOST_NAMES = 3


def lost(corpus: Corpus, summary: Mapping[str, Any]) -> list[str]:
    """What run.json counts or names and the parts lack; empty where all is there. `corpus` has read every part, so its
    counts are exact. Older versions counted less: what run.json does not say is not compared."""
    counts = [_difference(name, said, there) for name, said, there in _counts(corpus, summary) if there < said]
    gone = sorted(_names(summary, corpus) - set(corpus.parts))
    return counts + ([f"missing parts of codes: {listed(gone, MOST_NAMES)}"] if gone else [])


def added(corpus: Corpus, summary: Mapping[str, Any]) -> list[str]:
    """What the parts hold and run.json does not count or name."""
    counts = [_difference(name, said, there) for name, said, there in _counts(corpus, summary) if there > said]
    new = sorted(set(corpus.parts) - _names(summary, corpus))
    return counts + ([f"parts of codes that run.json does not name: {listed(new, MOST_NAMES)}"] if new else [])


def _counts(corpus: Corpus, summary: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Name, what run.json says, what the parts hold."""
    said = summary.get("counts", {})
    there = {
        "recordings": ("recordings with codes", corpus.begun),
        "chunks": ("chunks", corpus.chunks),
        "failures": ("failures", corpus.failed),
        "skipped": ("skipped recordings", corpus.skipped),
    }
    return [(name, said[key], number) for key, (name, number) in there.items() if key in said]


def _difference(name: str, said: int, there: int) -> str:
    return f"run.json counts {said:,} {name}, the parts hold {there:,}"


def _names(summary: Mapping[str, Any], corpus: Corpus) -> set[str]:
    """The parts of codes that run.json names; those that are there, where it names none."""
    return set(summary.get("parts") or corpus.parts)
