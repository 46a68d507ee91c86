"""A run -> text for a person: what came out, what it was told, what failed and why. Control characters are escaped."""

import shlex
from collections import Counter
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileType
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.contract import FRAME_RATE
from pipeline.errors import InputError, plural
from pipeline.run.layout import CODES, FAILURES, REPORT_FILE, SKIPPED, WAVES
from pipeline.run.live import Live
from pipeline.run.reader import Recording, Run
from pipeline.settings import changed_settings
from pipeline.sources.passed_over import in_words
from pipeline.storage.location import redact
from pipeline.storage.stamp import modified
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
        *([("skipped", f"{counts['skipped']:,} {skipped_text(summary['settings'])}")] if counts.get("skipped") else []),
        ("speed", f"{last['times_real_time']:,.1f}x real time ({last['wall_s']:.1f} s, {summary['device']})"),
    ]
    if summary.get("passed_over"):
        rows.append(("passed over", f"{in_words(summary['passed_over'])} (no audio by their names, or no files)"))
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
    ended = datetime.fromisoformat(last["started"]) + timedelta(seconds=last["wall_s"])
    paths += _report(run, ended.isoformat())
    if summary["state"] == "limited":
        first = plural(summary["limit"], "recording")
        paths.append(("not all", f"the first {first}; the same command without --limit goes on"))
    warnings = "\n".join(f"  warning: {clean_id(text)}" for text in summary.get("warnings", []))
    return "\n".join(filter(None, [table(rows), warnings, _failures_text(run.failures()), table(paths)]))


def _report(run: Run, ended: str) -> list[tuple[str, str]]:
    """Where the page of the run is, or the command that makes it; both where it is older than what the run holds."""
    location = redact(run.location)
    info = run.fs.get_file_info(f"{run.path}/{REPORT_FILE}")
    page, command = f"{location}/{REPORT_FILE}", f"voxmill report {shlex.quote(location)}"
    if info.type != FileType.File:
        return [("report", command)]
    written = modified(info.mtime_ns)  # in UTC, as `ended`: their first 19 characters go to the second
    if written is not None and written[:19] < ended[:19]:
        return [("old report", f"{page}, older than the end of the run"), ("report", command)]
    return [("report", page)]


def bounds_text(settings: dict[str, Any]) -> str:
    """ "shorter than 0.5 s or longer than 30 s": what is skipped under these settings; "" for nothing."""
    rules = settings["input"]
    words = [("shorter than", rules.get("min_s")), ("longer than", rules.get("max_s"))]
    return " or ".join(f"{word} {seconds:g} s" for word, seconds in words if seconds is not None)


def skipped_text(settings: dict[str, Any]) -> str:
    """`bounds_text`, and what else may have been skipped."""
    silent = "without speech" if settings["input"].get("vad", "none") != "none" else ""
    return " or ".join(word for word in (bounds_text(settings), silent) if word)


def run_text(run: Run, live: Live | None = None) -> str:
    """`voxmill show RUN`: counts, settings, failures by reason; `live`: of one that may be written right now."""
    summary = run.summary()
    now = _live_rows(live) if live and live.state in ("running", "crashed", "stopped") else []
    if not summary:
        return table([*now, ("recordings", f"{len(run):,}"), ("rows", f"{len(run.index):,}"), ("run.json", "none")])
    rows: list[tuple[str, Any]] = now or [("state", summary["state"]), *summary.get("counts", {}).items()]
    rows += [(key, summary[key]) for key in ("attention", "precision", "device", "resampler")]
    rows += [("model", summary["model"]["id"]), ("weights", summary["model"]["sha256"])]
    rows += [("inputs", ", ".join(summary["inputs"]))]
    rows += [("started", attempt["started"]) for attempt in summary["attempts"][:1]]
    rows += [("agreement with fp32", _shares(summary.get("agreement_with_fp32")))]
    rows += [("settings", ", ".join(changed_settings(summary["settings"])) or "the defaults")]
    return "\n".join(filter(None, [table(rows), _reasons_text(run)]))


def _live_rows(live: Live) -> list[tuple[str, Any]]:
    """What a run that is not complete has so far."""
    who = {
        "running": f"running: {live.writer} writes it",
        "crashed": f"crashed: {live.writer}, which wrote it, is gone; the same command (without --overwrite) goes on",
        "stopped": "stopped: nobody writes it, and it is not complete; the same command (without --overwrite) goes on",
    }
    done = live.recordings + live.failures + live.skipped
    of = f" of {live.of:,}" if live.of is not None else ""
    recordings, failures = plural(live.recordings, "recording"), plural(live.failures, "failure")
    speed = "not known yet" if live.times_real_time is None else f"{live.times_real_time:,.1f}x real time lately"
    return [
        ("state", who[live.state]),
        ("done", f"{done:,}{of}: {recordings}, {failures}, {live.skipped:,} skipped"),
        ("rate", speed),
        ("last commit", live.last_commit or "none yet"),
    ]


def run_json(run: Run, live: Live | None = None) -> dict[str, Any]:
    """`--json`: run.json without the list of parts, failures by error, and what `live` says."""
    summary = {key: value for key, value in run.summary().items() if key != "parts"}
    errors = Counter(run.failures()["error"].to_pylist())
    return {"run": redact(run.location), **summary, "errors": dict(errors), **(asdict(live) if live else {})}


def recording_json(run: Run, id_: str) -> dict[str, Any]:
    """`voxmill show RUN --id ID --json`: without the codes; or the row of its failure or skip."""
    if id_ in run:
        found = run[id_]
        fields = ("id", "source", "start_s", "end_s", "num_samples", "duration_s", "source_rate", "source_channels")
        values = {name: getattr(found, name) for name in fields}
        return {**values, "frames": len(found.codes), "wave": _wave(found), "carried": found.carried}
    return _not_coded(run, id_)


def _wave(found: Recording) -> str | None:
    """The path of a reconstruction, or "shard.tar::member"."""
    wave = found.wave
    return wave if wave is None or isinstance(wave, str) else wave.name


def _not_coded(run: Run, id_: str) -> dict[str, Any]:
    """The row of a recording without codes. Raises InputError where the run has none."""
    for rows in (run.failures(), run.skipped()):
        found = rows.filter(pc.equal(rows["id"], id_))
        if len(found):
            return found.slice(0, 1).to_pylist()[0]
    raise InputError(
        f"No recording {id_!r} in {redact(run.location)}. Its ids begin with {run.index['id'][:3].to_pylist()}."
    )


def recording_text(run: Run, id_: str) -> str:
    """`voxmill show RUN --id ID`: one recording, or its failure."""
    if id_ in run:
        found = run[id_]
        frames, channels = len(found.codes), plural(found.source_channels, "channel")
        rows = [
            ("id", found.id),
            ("source", found.source),
            ("audio", f"{found.duration_s:.3f} s at {found.source_rate} Hz, {channels}"),
            ("codes", f"int16 [{frames}, 16], {frames / FRAME_RATE:.2f} s"),
            ("wave", _wave(found) or "none"),
            *found.carried.items(),
        ]
        return table(rows) + "\nfirst frames\n" + "\n".join(f"  {row.tolist()}" for row in found.codes[:3])
    return table(list(_not_coded(run, id_).items()))


def _failures_text(failures: pa.Table) -> str:
    first = failures.slice(0, MAX_FAILURES).to_pylist()
    return "\n".join(clean_id(f"  {row['id']}: {row['error']}: {row['message']}") for row in first)


def _reasons_text(run: Run) -> str:
    failures = run.failures()
    reasons = Counter(zip(failures["stage"].to_pylist(), failures["error"].to_pylist(), strict=True))
    lines = [clean_id(f"  {number} {error} ({stage})") for (stage, error), number in reasons.most_common()]
    return "\n".join(["failures", *lines, _failures_text(failures)]) if lines else ""


def _shares(shares: list[float] | None) -> str:
    return " ".join(f"{share:.1%}" for share in shares) if shares else "not measured"


def table(rows: list[tuple[str, Any]]) -> str:
    """Names and values, aligned."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(clean_id(name)), Text(clean_id(str(value))))
    return printed(table, 200)


def printed(table: Table, width: int) -> str:
    """A table as text of `width` columns at most, without blanks at the ends of its lines."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
