"""run.json and what the parts hold -> the verdict: what is there, is it all and once, how fast, made how."""

from collections.abc import Mapping
from typing import Any

from actors.contract import SAMPLE_RATE
from pipeline.errors import listed, plural
from pipeline.report.corpus import Corpus
from pipeline.report.lost import added, lost
from pipeline.report.section import Fold, Section, Table
from pipeline.report.timeline import stage_sums, totals
from pipeline.report.words import hours, seconds, share
from pipeline.run.resume import RUNNING, UNFINISHED
from pipeline.run.stage_times import gpus
from pipeline.settings import changed_settings
from pipeline.storage.location import redact

MOST_WARNINGS = 20
MOST_INPUTS = 20
MOST_COMMANDS = 3
"""The latest ones that differ."""


def verdict(corpus: Corpus, summary: Mapping[str, Any], complete: bool) -> Section:
    """`complete`: _SUCCESS is there, so the audit at the end of the run has passed. That was then: nothing is certified
    of parts that are not those that run.json counts, nor of parts without a run.json."""
    folds = [Fold("Versions", list(summary.get("versions", {}).items()))] if summary.get("versions") else []
    return Section(
        "verdict",
        _headline(corpus, summary, complete),
        [_counted(corpus), _once(corpus, summary, complete)],
        summary.get("warnings", [])[:MOST_WARNINGS],
        _tiles(corpus, summary),
        tables=[Table("How it was made", ("", ""), _made(summary))],
        folds=folds,
    )


def _headline(corpus: Corpus, summary: Mapping[str, Any], complete: bool) -> str:
    if corpus.doubles:
        return f"{plural(corpus.doubles, 'id')} more than once: run voxmill check"
    if not summary:
        return "No run.json: whether all is there is not known"
    if not _ended(summary, complete):
        return "Not complete: the same command (without --overwrite) goes on"
    if lost(corpus, summary):
        return "Parts are missing: run voxmill check"
    if added(corpus, summary):
        return "Not what run.json counts: run voxmill check"
    if summary["state"] == "limited":
        return "The first recordings, as --limit asked"
    if not corpus.recordings:
        return "Complete, and no recording has codes"
    failed = f"{share(corpus.failed, corpus.accounted)} failed"
    return f"Complete, {failed}" if corpus.failed else "Complete, without failures"


def _ended(summary: Mapping[str, Any], complete: bool) -> bool:
    """Whether run.json counts all parts: those of a run that goes on, or whose end was killed, may be other ones."""
    state = summary.get("state")
    return state == "limited" or (complete and state == "complete")


def _counted(corpus: Corpus) -> str:
    return (
        f"{plural(corpus.accounted, 'recording')} = {corpus.recordings:,} with codes + {corpus.failed:,} failed + "
        f"{corpus.skipped:,} skipped, counted in the parts of this run. {hours(corpus.hours)} of audio have codes; "
        "the length of failed and skipped ones is not known."
    )


def _once(corpus: Corpus, summary: Mapping[str, Any], complete: bool) -> str:
    double = f"{plural(corpus.doubles, 'id')} more than once" if corpus.doubles else "No id is there twice"
    partial = f", {plural(corpus.partial, 'long recording')} without all chunks" if corpus.partial else ""
    if not summary:
        restore = " _SUCCESS is there, so there was one: restore a copy of it." if complete else ""
        return f"{double}{partial}. Without run.json nothing tells which inputs there were.{restore}"
    ended = _ended(summary, complete)
    if ended and (differences := lost(corpus, summary) + added(corpus, summary)):
        return f"{double}{partial}, but {'; '.join(differences)}. voxmill check RUN says what to do."
    if ended and summary["state"] == "complete":
        return f"{double}{partial}, and the run's audit found every input exactly once."
    return f"{double}{partial}. The run is not complete: its audit has not compared the inputs with the parts."


def _tiles(corpus: Corpus, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    total = totals(summary)
    tiles = [
        (hours(corpus.hours), "of audio with codes"),
        (f"{corpus.recordings:,}", "recordings"),
        (f"{corpus.failed:,}", f"failures ({share(corpus.failed, corpus.accounted)})"),
    ]
    if total["wall_s"]:
        tiles += [(f"{total['times_real_time']:,.1f}x", "real time"), (seconds(total["wall_s"]), "of processing")]
    on_gpus = str(summary.get("device", "")).startswith("cuda")  # of a merged run perhaps not all of it
    devices = gpus(summary["settings"], stage_sums(summary.get("attempts", []))) if on_gpus else 0
    if devices and total["wall_s"]:
        tiles.append((hours(total["audio_s"] / 3600 / (total["wall_s"] / 3600 * devices)), "of audio per GPU hour"))
    return tiles


def _made(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values."""
    if not summary:
        return [("run.json", "none: these are bare parts")]
    model, chunk = summary["model"], summary["chunk"]
    revision = f" at revision {model['revision']}" if model.get("revision") else ""
    attempts = summary.get("attempts", [])
    broken_off = [*summary.get(UNFINISHED, []), *([summary[RUNNING]] if RUNNING in summary else [])]
    begun = sorted((*attempts, *broken_off), key=lambda one: one["started"])
    commands = list(dict.fromkeys(one["command"] for one in begun if one.get("command")))
    return [
        ("command", listed(commands[::-1], MOST_COMMANDS) or "not recorded: an older version made the run"),
        ("inputs", listed([redact(one) for one in summary["inputs"]], MOST_INPUTS)),
        ("model", f"{redact(model['id'])}{revision}"),
        ("sha256 of its weights", model["sha256"]),
        ("precision, device", f"{summary['precision']} on {summary['device']}"),
        ("attention", summary["attention"]),
        ("resampler", summary["resampler"]),
        (
            "chunks",
            f"{chunk['samples'] / SAMPLE_RATE:g} s, with {chunk['context_samples'] / SAMPLE_RATE:g} s of context",
        ),
        *((key, str(summary[key])) for key in ("shard", "limit") if summary.get(key) is not None),
        ("settings that are not the defaults", ", ".join(changed_settings(summary["settings"])) or "none"),
        ("attempts", _attempts(len(attempts), len(broken_off), begun[0]["started"] if begun else "")),
    ]


def _attempts(finished: int, broken_off: int, started: str) -> str:
    if not finished + broken_off:
        return "none finished"
    others = f", {broken_off} that did not come to their end (or run now)" if broken_off else ""
    return f"{finished or 'none'} finished{others}; the first started {started}"
