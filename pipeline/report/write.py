"""A run on disk -> RUN/report.html: exact figures from the columns, the others from a sample, in bounded time.

Of a folder of Parquet files it is FOLDER/_report.html.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyarrow.fs import FileType

from actors.checkpoint import codebook_size
from pipeline.errors import InputError, SettingsError
from pipeline.loading import source_rules
from pipeline.report.codebooks import CodebookUse, read_codes
from pipeline.report.codes_section import codes_section
from pipeline.report.columns import MAX_SEED, read_columns
from pipeline.report.corpus import Corpus
from pipeline.report.corpus_section import corpus_section
from pipeline.report.exactness import agreement_section, seams_section
from pipeline.report.failures_section import failures_section
from pipeline.report.page import render
from pipeline.report.quality_section import quality_section
from pipeline.report.section import Section
from pipeline.report.survey import Survey, survey
from pipeline.report.verdict import verdict
from pipeline.report.where_time import where_time
from pipeline.run.find_waves import Waves
from pipeline.run.layout import REPORT_FILE, RUN_FILE, is_marked
from pipeline.run.reader import Run, location_of, open_run
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate
from pipeline.storage.location import folder_of, redact
from pipeline.version import __version__

SAMPLE = 200
"""Recordings that are heard, unless the time is over before."""
SECONDS = 30.0
"""For hearing them, where nothing else is said."""


def write_report(location: str | Path | Run, sample: int = SAMPLE, seconds: float = SECONDS, seed: int = 0) -> str:
    """Write the page of the run at `location`, a folder, a URI or what `open_run` gives; returns where it is.

    `sample` recordings at most, drawn by `seed` (0 to MAX_SEED), are read again from their sources, for `seconds` at
    most (but six of them in any case). Raises SettingsError for another seed, InputError where there is no run,
    OutputError where it is damaged or cannot be written.
    """
    begin_s = time.monotonic()
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"the seed is {seed}; expected 0 to {MAX_SEED}")
    _refuse_parts_of_a_run(location_of(location).rstrip("/"))
    run = open_run(location)
    summary = run.summary()
    complete = is_marked(run.fs, run.path)
    corpus, rows = read_columns(run.fs, run.path, run.paths, sample, seed)
    settings = summary.get("settings", {})
    use = read_codes(run.fs, run.paths, codebook_size(settings.get("model", "")), seed)
    heard = survey(rows, Waves(run.fs, run.path), source_rules(summary), seconds, seed)
    sections = [verdict(corpus, summary, complete), where_time(summary), *_contents(corpus, heard, use, summary)]
    written = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")
    took_s = time.monotonic() - begin_s
    footer = f"voxmill {__version__}. Made in {took_s:.1f} s. The page holds all that it shows: nothing is fetched."
    page = render(redact(run.location), written, sections, heard.players, footer).encode()
    name = _file_name(run)
    write_whole(run.fs, f"{run.path}/{name}", lambda file: file.write(page))
    return f"{redact(run.location)}/{name}"


def _refuse_parts_of_a_run(location: str) -> None:
    """Raise InputError for a file, and for RUN/codes: a page among the parts would keep others from reading them."""
    fs, path = locate(location)
    folder = redact(folder_of(location))
    if fs.get_file_info(path).type == FileType.File:
        raise InputError(f"{redact(location)} is a file; expected a run, or a folder of Parquet files: give {folder}")
    parent = path.rpartition("/")[0]
    own, its = (fs.get_file_info(f"{place}/{RUN_FILE}").type == FileType.File for place in (path, parent))
    if its and not own:
        raise InputError(f"{redact(location)} is a folder of a run; expected the run: {folder}")


def _file_name(run: Run) -> str:
    """REPORT_FILE; in a folder of Parquet files "_" before it, for pyarrow, Spark and others that read a whole folder
    skip such names, and fail on any other that is no Parquet."""
    among_parts = any(path.rpartition("/")[0] == run.path for path in run.paths)
    return f"_{REPORT_FILE}" if among_parts else REPORT_FILE


def _contents(corpus: Corpus, heard: Survey, use: CodebookUse | None, summary: dict[str, Any]) -> list[Section]:
    """The sections on what the run holds, in their order."""
    return [
        corpus_section(corpus, heard),
        codes_section(use),
        agreement_section(summary),
        seams_section(corpus, summary),
        quality_section(heard),
        failures_section(corpus),
    ]
