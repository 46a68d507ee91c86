"""A run -> text for a person: what came out, what it was told, what failed and why. Control characters are escaped."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.contract import FRAME_RATE
from pipeline.errors import InputError
from pipeline.run.layout import CODES, FAILURES, SKIPPED, WAVES
from pipeline.run.reader import Run
from pipeline.storage.location import redact
from pipeline.storage.text import clean_id

MAX_FAILURES = 10


def result_text(run: Run) -> str:
    """The text at the end of a run: counts, speed, failures, paths of its output."""
    summary = run.summary()
    counts, last = summary["counts"], summary["attempts"][-1]
    rows = [
        ("recordings", f"{counts['recordings']:,}"),
        ("audio", f"{counts['audio_s']:,.1f} s"),
        ("frames", f"{counts['frames']:,} (12.5 Hz, 16 codebooks)"),
        ("failures", f"{counts['failures']:,}"),
        *([("skipped", f"{counts['skipped']:,} {_bounds(summary)}")] if counts.get("skipped") else []),
        ("speed", f"{last['times_real_time']:,.1f}x real time ({last['wall_s']:.1f} s, {summary['device']})"),
    ]
    if counts["context_s"]:
        share = counts["context_s"] / (counts["context_s"] + counts["audio_s"])
        rows.append(("context", f"{counts['context_s']:,.1f} s of chunks' left context: {share:.0%} of the encoding"))
    if summary.get("agreement_with_fp32"):
        rows.append(("agreement", f"{summary['agreement_with_fp32'][0]:.2%} of codebook 0 as in fp32"))
    location = redact(run.location)
    paths = [("codes", f"{location}/{CODES}/")]
    if summary["settings"]["reconstruct"]:
        paths.append(("waves", f"{location}/{WAVES}/"))
    if counts["failures"]:
        paths.append(("failures", f"{location}/{FAILURES}/"))
    if counts.get("skipped"):
        paths.append(("skipped", f"{location}/{SKIPPED}/"))
    paths.append(("settings", f"{location}/run.json"))
    if summary["state"] == "limited":
        paths.append(
            ("not all", f"the first {summary['limit']:,} recordings; the same command without --limit goes on")
        )
    warnings = "\n".join(f"  warning: {clean_id(text)}" for text in summary.get("warnings", []))
    return "\n".join(filter(None, [_table(rows), warnings, _failures_text(run), _table(paths)]))


def _bounds(summary: dict[str, Any]) -> str:
    """ "shorter than 0.5 s or longer than 30 s": what a run skips."""
    rules = summary["settings"]["input"]
    words = [("shorter than", rules.get("min_s")), ("longer than", rules.get("max_s"))]
    return " or ".join(f"{word} {seconds:g} s" for word, seconds in words if seconds is not None)


def run_text(run: Run) -> str:
    """`voxmill show RUN`: counts, settings, failures by reason."""
    summary = run.summary()
    if not summary:
        return _table([("recordings", f"{len(run):,}"), ("rows", f"{len(run.index):,}"), ("run.json", "none")])
    rows: list[tuple[str, Any]] = [("state", summary["state"]), *summary.get("counts", {}).items()]
    rows += [(key, summary[key]) for key in ("attention", "precision", "device", "resampler")]
    rows += [("model", summary["model"]["id"]), ("weights", summary["model"]["sha256"])]
    rows += [("inputs", ", ".join(summary["inputs"]))]
    rows += [("started", attempt["started"]) for attempt in summary["attempts"][:1]]
    rows += [("agreement with fp32", _shares(summary.get("agreement_with_fp32")))]
    settings = "\n".join(clean_id(f"  {key}: {value}") for key, value in summary["settings"].items())
    return "\n".join(filter(None, [_table(rows), "settings", settings, _reasons_text(run)]))


def recording_text(run: Run, id_: str) -> str:
    """`voxmill show RUN --id ID`: one recording, or its failure."""
    if id_ in run:
        found = run[id_]
        frames = len(found.codes)
        rows = [
            ("id", found.id),
            ("source", found.source),
            ("audio", f"{found.duration_s:.3f} s at {found.source_rate} Hz, {found.source_channels} channels"),
            ("codes", f"int16 [{frames}, 16], {frames / FRAME_RATE:.2f} s"),
            ("wave", found.wave or "none"),
            *found.carried.items(),
        ]
        return _table(rows) + "\nfirst frames\n" + "\n".join(f"  {row.tolist()}" for row in found.codes[:3])
    for failure in run.failures().to_pylist():
        if failure["id"] == id_:
            return _table(list(failure.items()))
    raise InputError(
        f"No recording {id_!r} in {redact(run.location)}. Its ids begin with {run.index['id'][:3].to_pylist()}."
    )


def _failures_text(run: Run) -> str:
    failures = run.failures().slice(0, MAX_FAILURES).to_pylist()
    return "\n".join(clean_id(f"  {row['id']}: {row['error']}: {row['message']}") for row in failures)


def _reasons_text(run: Run) -> str:
    failures = run.failures()
    reasons = Counter(zip(failures["stage"].to_pylist(), failures["error"].to_pylist(), strict=True))
    lines = [clean_id(f"  {number} {error} ({stage})") for (stage, error), number in reasons.most_common()]
    return "\n".join(["failures", *lines, _failures_text(run)]) if lines else ""


def _shares(shares: list[float] | None) -> str:
    return " ".join(f"{share:.1%}" for share in shares) if shares else "not measured"


def _table(rows: list[tuple[str, Any]]) -> str:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(clean_id(name)), Text(clean_id(str(value))))
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
