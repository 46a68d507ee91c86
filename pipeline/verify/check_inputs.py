"""What a run holds and what its inputs hold -> what is of other content, and what is nowhere."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.changes import Changes, Files
from pipeline.run.alike import absent, beginnings
from pipeline.run.layout import CODES, FAILURES, SKIPPED
from pipeline.run.whole_files import whole_files
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import Discovered
from pipeline.sources.plan import divide
from pipeline.sources.rows import taken
from pipeline.storage.at_once import at_once
from pipeline.storage.text import id_hashes
from pipeline.verify.evidence import Evidence
from pipeline.verify.problems import by_few


def other_content(changed: Changes) -> Iterator[str]:
    """Recordings that were read from something else than what the inputs, or copies of them, hold under their ids."""
    yield from changed.examples
    if len(changed.hashes) > len(changed.examples):
        yield f"{len(changed.hashes):,} recordings in all are of other inputs, or of inputs that changed since"


def unaccounted(lost: pa.ChunkedArray) -> Iterator[str]:
    """Planned recordings that have neither all their codes nor a failure: their ids."""
    for row in by_few(pa.table({"id": lost})):
        yield f"{row['id']} is an input that is in none of {CODES}, {FAILURES} and {SKIPPED}"


def lost_inputs(evidence: Evidence, inputs: Discovered, files: Files, limit: int | None) -> tuple[pa.ChunkedArray, int]:
    """The ids of those of `inputs` (of the first `limit`), whose files are `files`, that are `unaccounted`; and how
    many are planned. A file of which each channel is a recording is one. Opens containers, some at once, but no
    audio; what is packed is read through."""
    known = _known(evidence)
    lost = files.ids.absent(known)
    planned = len(files.units) if limit is None else min(limit, len(files.units))
    ids = taken(files.units.select(["@id"]), lost[lost < planned])["@id"].chunks
    tasks = divide(inputs, limit=limit).tasks if any(one.kind != "files" for one in inputs.found) else []
    containers = (task for task in tasks if task.kind != "files")
    for members in at_once(lambda task: pa.array([item.id for item in recordings(task)], pa.string()), containers):
        ids.append(members.filter(pa.array(absent([id_hashes(members)], known))))
        planned += len(members)
    return pa.chunked_array(ids, pa.string()), planned


def _known(evidence: Evidence) -> np.ndarray:
    """The `beginnings` of all that has all its codes, or a failure: recordings, and files of which they are parts."""
    coded, whole = evidence.coded, evidence.recordings.whole
    inside = coded.in_file.filter(pa.array(whole[coded.in_file["row"].to_numpy()]))
    files = whole_files(inside, evidence.failed.in_file)
    return beginnings([evidence.whole_keys, evidence.failed.keys, id_hashes(files)])
