"""run.json and the corpus -> the sections on agreement with fp32, and on the seams of long recordings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.contract import SAMPLE_RATE
from pipeline.errors import plural
from pipeline.report.corpus import Corpus
from pipeline.report.plots import columns
from pipeline.report.section import Picture, Section
from pipeline.report.words import hours, share


def agreement_section(summary: Mapping[str, Any]) -> Section:
    """What the run measured on its own audio."""
    shares = summary.get("agreement_with_fp32")
    title = "Agreement with fp32"
    if not shares:
        why = "the run computed in fp32" if summary.get("precision") == "fp32" else "it was not measured in this run"
        return Section("agreement", title, [f"Nothing to compare: {why}."])
    seconds = summary["settings"]["output"].get("agreement_s", 0.0)
    lead = (
        f"{shares[0]:.2%} of the codes of codebook 0, and {np.mean(shares):.2%} of all 16, are those that fp32 gives, "
        f"on up to {seconds:g} s of the run's own audio ({summary['precision']} on {summary['device']})."
    )
    alt = "Agreement by codebook: " + ", ".join(f"{value:.0%}" for value in shares)
    picture = Picture(columns(100 * np.array(shares), "equal to fp32, %", alt, 100), "Equal codes by codebook.")
    return Section("agreement", title, [lead], pictures=[picture])


def seams_section(corpus: Corpus, summary: Mapping[str, Any]) -> Section:
    """What is known of the seams without encoding again."""
    title = "Seams of long recordings"
    if not summary:
        return Section("seams", title, ["There is no run.json, which would say how recordings were cut."])
    length_s = summary["chunk"]["samples"] / SAMPLE_RATE
    context_s = summary["chunk"]["context_samples"] / SAMPLE_RATE
    if not corpus.seams:
        return Section("seams", title, [f"No recording is longer than a chunk ({length_s:g} s): there are no seams."])
    computed = summary.get("counts", {}).get("context_s", 0.0) / 3600
    cost = (
        f" The context was {share(computed, computed + corpus.hours)} of the encoding ({hours(computed)})."
        if computed
        else ""
    )
    needed_s = summary.get("exact_context_samples", 0) / SAMPLE_RATE  # older runs do not say
    if summary["attention"] != "window":
        exact = (
            "Under attention full a code depends on all that came before, so codes behind a seam differ a little from "
            "those of the whole recording; attention window makes them equal."
        )
    elif context_s < needed_s:
        exact = (
            f"Under attention window a code depends on up to {needed_s:g} s, so codes behind a seam differ a little "
            "from those of the whole recording; without chunk.context_s they are equal."
        )
    else:
        exact = "Under attention window that covers all that a code depends on, so chunks equal the whole recording."
    lead = (
        f"{plural(corpus.seams, 'seam')} between chunks of {length_s:g} s. Each chunk was encoded behind the "
        f"{context_s:g} s before it. {exact}{cost}"
    )
    return Section(
        "seams",
        title,
        [lead, "Measured figures of seams are in the project's README; this page encodes nothing again."],
    )
