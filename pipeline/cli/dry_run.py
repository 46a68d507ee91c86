"""What a command would read -> text for a person."""

from pipeline.cli.show import bounds_text, table
from pipeline.dry_run import Preview
from pipeline.errors import plural
from pipeline.settings import Settings
from pipeline.sources.passed_over import in_words
from pipeline.storage.text import clean_id


def preview_text(preview: Preview, settings: Settings) -> str:
    """`voxmill tokenize --dry-run`."""
    there = preview.committed
    rows = [
        ("recordings", _recordings(preview, split=settings.input.channels == "split")),
        ("hours", _hours(preview, split=settings.input.channels == "split")),
        ("tasks", f"{preview.tasks:,}"),
        ("columns", ", ".join(f"{name} {kind}" for name, kind in preview.columns.items()) or "none"),
        ("first ids", ", ".join(map(repr, preview.first_ids)) or "none"),
        ("passed over", in_words(preview.passed_over)),
        *[("run", f"passed over: {run}") for run in preview.runs],
        ("committed", "nothing" if there is None else ", ".join(f"{n:,} {name}" for name, n in there.items() if n)),
    ]
    wanted = bounds_text(settings.model_dump())
    if wanted:
        rows.append(("skipped", f"{preview.skipped:,} of {preview.known:,} whose length is known: {wanted}"))
    rows += [(name, str(value)) for name, value in (("shard", preview.shard), ("limit", preview.limit)) if value]
    return f"{table([(name, clean_id(text)) for name, text in rows])}\nnothing was written (--dry-run)"


def _recordings(preview: Preview, split: bool) -> str:
    shards = ", ".join(f"{number:,} {kind}" for kind, number in preview.containers.items())
    if not shards and split:
        return f"of each channel of {plural(preview.files, 'file')} to read: only opening them tells how many"
    if not shards:
        return f"{preview.files:,} to read"
    files = f"{plural(preview.files, 'file')} and " if preview.files else ""
    known = "only opening them tells how many" if preview.recordings is None else f"{preview.recordings:,} in all"
    return f"{files}those in {shards} to read: {known}"


def _hours(preview: Preview, split: bool) -> str:
    if not preview.files and preview.containers:
        return "only opening the containers tells"
    if not preview.known:
        return f"known for none of {preview.files:,}"
    about = f", about {_number(preview.about_h)} in all" if preview.about_h and preview.known < preview.files else ""
    each = ", and as much for each further channel" if split else ""
    return f"{_number(preview.known_h)}, known for {preview.known:,} of {preview.files:,}{about}{each}"


def _number(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.4f}"
