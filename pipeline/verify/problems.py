"""What a run holds -> its problems, a line each; a function a kind of problem."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileType

from pipeline.errors import plural
from pipeline.run.alike import absent, beginnings, first_of, groups
from pipeline.run.layout import CODES, FAILURES, PIECES, SHARD, SUCCESS_FILE, WAVES, is_marked, sample_key
from pipeline.run.resume import MERGING
from pipeline.run.sweep import unfinished
from pipeline.storage.id_set import hashes_among
from pipeline.storage.location import redact
from pipeline.verify.check_waves import wave_faults
from pipeline.verify.evidence import Evidence
from pipeline.verify.recordings import of_rows, of_several_versions


def unfinished_run(evidence: Evidence) -> Iterator[str]:
    """A run that is not complete, or has no valid run.json."""
    command = "merge" if MERGING in (evidence.summary or {}) else "tokenize"
    if evidence.summary is None:
        yield evidence.damage or "run.json is missing: settings, checksums and counts cannot be checked"
    elif evidence.summary.get("state") == "limited":
        first = plural(evidence.summary.get("limit") or 0, "recording")
        yield f"--limit asked for the first {first} alone: run it without --limit"
        return
    elif evidence.summary.get("state") != "complete":
        yield f"run.json says {evidence.summary.get('state')!r}, not 'complete': run the same `voxmill {command}` again"
    if not is_marked(evidence.fs, evidence.run):
        yield f"{SUCCESS_FILE} is missing: run the same `voxmill {command}` again"


def torn_parts(evidence: Evidence) -> Iterator[str]:
    """Parts that are not Parquet, or lack columns."""
    for path, why in evidence.torn.items():
        yield f"{_short(evidence, path)} cannot be read: {why}"


def checksums(evidence: Evidence) -> Iterator[str]:
    """Parts whose sha256 differs from run.json, that are missing, or that run.json does not list."""
    recorded = evidence.recorded_parts
    names = {path.rpartition("/")[2] for path in evidence.parts}
    unlisted = sorted(names - recorded.keys())
    if unlisted and evidence.summary is not None:  # all that an interrupted run committed
        more = f", nor {plural(len(unlisted) - 1, 'more part')}" if len(unlisted) > 1 else ""
        yield f"{CODES}/{unlisted[0]} is not listed in run.json{more}"
    for name in sorted(recorded):
        if name not in names:
            yield f"{CODES}/{name} is missing: run.json lists it"
        elif name in evidence.sha256s and recorded[name] != evidence.sha256s[name]:
            yield f"{CODES}/{name} has another sha256 than in run.json: {evidence.sha256s[name]}"


def bad_rows(evidence: Evidence) -> Iterator[str]:
    """Rows with impossible frames, samples, duration or codes."""
    found = evidence.odd.filter(evidence.odd["fault"].is_valid())
    for id_, row in _named(evidence, found):
        path = evidence.parts[int(evidence.coded.part_of(row["row"]))]
        yield f"{id_}, chunk {row['chunk']} in {_short(evidence, path)}: {row['fault']}"


def duplicates(evidence: Evidence) -> Iterator[str]:
    """Chunks with more than one row."""
    several, odd = evidence.recordings.twice, evidence.odd
    chunk = of_rows(odd, "chunk", several)
    rows, sizes = _repeated(evidence.coded.keys[several], chunk)
    unknown = np.isin(several[rows], odd["row"].filter(odd["chunk"].is_null()).to_numpy())
    told = zip(evidence.coded.ids(several[rows]), chunk[rows].tolist(), unknown.tolist(), sizes.tolist(), strict=True)
    for id_, number, is_null, size in told:
        yield f"{id_}, chunk {None if is_null else number}: {size} rows in {CODES}, expected 1"


def _repeated(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each set of values in `columns` that several rows have, ascending, and how many have it."""
    order, begins = groups(*columns)
    sizes, firsts = np.diff(begins, append=len(order)), order[begins]
    firsts, sizes = firsts[sizes > 1], sizes[sizes > 1]
    ascending = np.argsort(firsts)
    return firsts[ascending], sizes[ascending]


def incomplete(evidence: Evidence) -> Iterator[str]:
    """Recordings that lack chunks, or whose rows disagree about their number."""
    found = evidence.recordings.incomplete
    disagree = pc.not_equal(found["chunks_min"], found["chunks_max"])
    for id_, row in _named(evidence, found.filter(disagree)):
        yield f"{id_}: its rows say {row['chunks_min']} chunks and {row['chunks_max']}"
    for id_, row in _named(evidence, found.filter(pc.invert(disagree))):
        yield f"{id_}: {row['chunk_count']} of {row['chunks_max']} chunks"


def failed_twice(evidence: Evidence) -> Iterator[str]:
    """Ids with several failures (a skip counts as one), or with a failure and codes."""
    failed, coded = evidence.failed, evidence.coded
    rows, sizes = _repeated(failed.keys)
    for id_, number in zip(failed.ids(rows), sizes.tolist(), strict=True):
        yield f"{id_}: {number} rows in {FAILURES}, expected 1"
    both = np.unique(failed.keys[~absent([failed.keys], beginnings([coded.keys]))]) if len(failed) else failed.keys
    there = np.flatnonzero(hashes_among(coded.keys, both)) if len(both) else np.empty(0, np.int64)
    for id_ in coded.ids(there[first_of(coded.keys[there])]):
        yield f"{id_} is in {CODES} and in {FAILURES}"


def other_counts(evidence: Evidence) -> Iterator[str]:
    """Counts in run.json that differ from the parts."""
    said = (evidence.summary or {}).get("counts", {})
    chunk = evidence.odd["chunk"]
    seen = {
        "recordings": len(evidence.coded) - len(chunk) + (pc.sum(pc.equal(chunk, 0)).as_py() or 0),
        "chunks": len(evidence.coded),
        "failures": len(evidence.failed) - evidence.skipped,
        "skipped": evidence.skipped,
        "frames": evidence.frames,
    }
    for name, number in seen.items():
        if name in said and said[name] != number:
            yield f"run.json counts {said[name]:,} {name}, the parts hold {number:,}"


def waves(evidence: Evidence) -> Iterator[str]:
    """Waves that are missing, or have another length or header than their recording's, or are not its only one."""
    if evidence.with_waves:
        for path, id_, text, _ in wave_faults(evidence):
            member = f"::{sample_key(id_)}" if id_ is not None and path.endswith(SHARD) else ""
            yield f"{_short(evidence, path)}{member} {text}; `voxmill check --repair`, then `tokenize`, makes it again"


def unfinished_files(evidence: Evidence) -> Iterator[str]:
    """Temporary files of killed writers, and chunks that were not joined."""
    for path in unfinished(evidence.fs, evidence.run):
        yield f"{_short(evidence, path)} is a temporary file of a killed writer"
    if evidence.fs.get_file_info(f"{evidence.run}/{WAVES}/{PIECES}").type == FileType.Directory:
        yield f"{WAVES}/{PIECES} holds chunks that no attempt joined: run the same `voxmill tokenize` again"


def mixed(evidence: Evidence) -> Iterator[str]:
    """Recordings whose chunks have different fingerprints."""
    for id_ in evidence.coded.ids(of_several_versions(evidence.coded.keys, evidence.odd)):
        yield f"{id_}: its chunks were read from different versions of its file"


def _named(evidence: Evidence, found: pa.Table) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """The rows of a table of rows of codes, ascending, with their ids."""
    return zip(evidence.coded.ids(found["row"].to_numpy()), by_few(found), strict=True)


def by_few(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table; a few at a time are Python objects."""
    return (row for batch in rows.to_batches(max_chunksize=10_000) for row in batch.to_pylist())


def _short(evidence: Evidence, path: str) -> str:
    return redact(path.removeprefix(f"{evidence.run}/"))


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    unfinished_run,
    torn_parts,
    checksums,
    bad_rows,
    duplicates,
    incomplete,
    mixed,
    failed_twice,
    other_counts,
    waves,
    unfinished_files,
)
