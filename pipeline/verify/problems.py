"""What a run holds -> its problems, a line each; a function a kind of problem."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileType

from pipeline.run.alike import absent, first_of, groups, shared
from pipeline.run.layout import CODES, FAILURES, PIECES, SHARD, SUCCESS_FILE, WAVES, sample_key
from pipeline.run.sweep import unfinished
from pipeline.schema import SKIP
from pipeline.storage.id_set import hashes_among
from pipeline.storage.location import redact
from pipeline.verify.check_waves import wanted, wave_faults
from pipeline.verify.survey import Evidence, hashes_of, of_several_versions


def unfinished_run(evidence: Evidence) -> Iterator[str]:
    """A run that is not complete, or has no valid run.json."""
    if evidence.summary is None:
        yield evidence.damage or "run.json is missing: settings, checksums and counts cannot be checked"
    elif evidence.summary.get("state") == "limited":
        yield f"only the first {evidence.summary.get('limit')} recordings were asked for: run it without --limit"
        return
    elif evidence.summary.get("state") != "complete":
        yield f"run.json says {evidence.summary.get('state')!r}, not 'complete': run the same `voxmill tokenize` again"
    if evidence.fs.get_file_info(f"{evidence.run}/{SUCCESS_FILE}").type != FileType.File:
        yield f"{SUCCESS_FILE} is missing: run the same `voxmill tokenize` again"


def torn_parts(evidence: Evidence) -> Iterator[str]:
    """Parts that are not Parquet, or lack columns."""
    for path, why in evidence.torn.items():
        yield f"{_short(evidence, path)} cannot be read: {why}"


def checksums(evidence: Evidence) -> Iterator[str]:
    """Parts whose sha256 differs from run.json, that are missing, or that run.json does not list."""
    recorded = evidence.recorded_parts
    names = {path.rpartition("/")[2] for path in evidence.parts}
    for name in sorted({*recorded, *names}):
        if name not in names:
            yield f"{CODES}/{name} is missing: run.json lists it"
        elif evidence.summary is not None and name not in recorded:
            yield f"{CODES}/{name} is not listed in run.json"
        elif name in recorded and name in evidence.sha256s and recorded[name] != evidence.sha256s[name]:
            yield f"{CODES}/{name} has another sha256 than in run.json: {evidence.sha256s[name]}"


def bad_rows(evidence: Evidence) -> Iterator[str]:
    """Rows with impossible frames, samples, duration or codes."""
    found = evidence.rows.select(["id", "chunk", "part", "fault"]).filter(evidence.rows["fault"].is_valid())
    for row in by_few(found):
        yield f"{row['id']}, chunk {row['chunk']} in {_short(evidence, evidence.parts[row['part']])}: {row['fault']}"


def duplicates(evidence: Evidence) -> Iterator[str]:
    """Chunks with more than one row."""
    hashes = hashes_of(evidence.rows)
    several = shared([hashes])
    chunk = pc.fill_null(evidence.rows["chunk"], -1).to_numpy()[several]
    for row, number in _repeated(hashes[several], chunk):
        id_, at = evidence.id_of(int(several[row])), evidence.rows["chunk"][int(several[row])].as_py()
        yield f"{id_}, chunk {at}: {number} rows in {CODES}, expected 1"


def _repeated(*columns: np.ndarray) -> list[tuple[int, int]]:
    """The first row of each set of values in `columns` that several rows have, and how many have it."""
    order, begins = groups(*columns)
    sizes = np.diff([*begins.tolist(), len(order)])
    firsts = order[begins]
    return sorted(zip(firsts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True))


def incomplete(evidence: Evidence) -> Iterator[str]:
    """Recordings that lack chunks, or whose rows disagree about their number."""
    found = evidence.recordings
    disagree = pc.not_equal(found["chunks_min"], found["chunks_max"])
    for row in by_few(found.filter(disagree)):
        yield f"{evidence.id_of(row['row'])}: its rows say {row['chunks_min']} chunks and {row['chunks_max']}"
    agreed = found.filter(pc.invert(disagree))
    for row in by_few(agreed.filter(pc.less(agreed["chunk_count"], agreed["chunks_max"]))):
        yield f"{evidence.id_of(row['row'])}: {row['chunk_count']} of {row['chunks_max']} chunks"


def failed_twice(evidence: Evidence) -> Iterator[str]:
    """Ids with several failures (a skip counts as one), or with a failure and codes."""
    failed, coded = hashes_of(evidence.failed), hashes_of(evidence.rows)
    for row, number in _repeated(failed):
        yield f"{evidence.failed['id'][row].as_py()}: {number} rows in {FAILURES}, expected 1"
    both = np.unique(failed[~absent([failed], [coded])])
    there = np.flatnonzero(hashes_among(coded, both)) if len(both) else np.empty(0, np.int64)
    for row in there[first_of(coded[there])].tolist():
        yield f"{evidence.id_of(row)} is in {CODES} and in {FAILURES}"


def other_counts(evidence: Evidence) -> Iterator[str]:
    """Counts in run.json that differ from the parts."""
    said = (evidence.summary or {}).get("counts", {})
    seen = {
        "recordings": pc.sum(pc.equal(evidence.rows["chunk"], 0)).as_py() or 0,
        "chunks": len(evidence.rows),
        "failures": len(evidence.failed) - skipped(evidence),
        "skipped": skipped(evidence),
        "frames": pc.sum(evidence.rows["num_frames"]).as_py() or 0,
    }
    for name, number in seen.items():
        if name in said and said[name] != number:
            yield f"run.json counts {said[name]:,} {name}, the parts hold {number:,}"


def waves(evidence: Evidence) -> Iterator[str]:
    """Waves that are missing, or have another length or header than their recording's, or are not its only one."""
    if wanted(evidence):
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
    for row in of_several_versions(evidence.rows).tolist():
        yield f"{evidence.id_of(row)}: its chunks were read from different versions of its file"


def skipped(evidence: Evidence) -> int:
    """Recordings that the settings leave out."""
    return pc.sum(pc.equal(evidence.failed["stage"], SKIP)).as_py() or 0


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
