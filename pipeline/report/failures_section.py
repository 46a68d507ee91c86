"""Failures by reason -> their section."""

from pipeline.errors import plural
from pipeline.report.corpus import Corpus
from pipeline.report.section import Fold, Section, Table
from pipeline.report.words import share

MOST_REASONS = 30
MOST_CHARACTERS = 400
"""Of an id, and of a message."""


def failures_section(corpus: Corpus) -> Section:
    """Each reason with a few examples."""
    if not corpus.failed:
        return Section("failures", "Failures", ["No recording failed."])
    reasons = corpus.failures.most_common(MOST_REASONS)
    rows = [(error, stage, f"{count:,}", share(count, corpus.accounted)) for (stage, error), count in reasons]
    folds = [
        Fold(
            f"{error} ({stage}): {min(count, len(corpus.examples[stage, error]))} of {count:,}",
            [(one["id"][:MOST_CHARACTERS], one["message"][:MOST_CHARACTERS]) for one in corpus.examples[stage, error]],
        )
        for (stage, error), count in reasons
    ]
    lead = [
        f"{plural(corpus.failed, 'recording')} of {corpus.accounted:,} failed, for "
        f"{plural(len(corpus.failures), 'reason')}. To try those of a reason again: voxmill retry RUN --error NAME."
    ]
    head = ("reason", "stage", "recordings", "of all")
    return Section("failures", "Failures", lead, tables=[Table("By reason", head, rows)], folds=folds)
