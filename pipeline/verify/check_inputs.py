"""What a run holds and what its inputs hold -> what is of other content, and what is nowhere."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.changes import changes
from pipeline.run.alike import absent
from pipeline.run.layout import CODES, FAILURES
from pipeline.run.part_keys import PLACE
from pipeline.run.whole_files import whole_files
from pipeline.sources.formats import recordings
from pipeline.sources.inputs import Discovered
from pipeline.sources.plan import divide
from pipeline.storage.text import id_hashes
from pipeline.verify.problems import by_few
from pipeline.verify.survey import Evidence, hashes_of, whole


def planned_ids(inputs: Discovered, limit: int | None = None) -> pa.ChunkedArray:
    """The ids of all recordings of `inputs`, or of the first `limit`; of files where each channel is one. Opens
    containers, but no audio."""
    ids = [
        task.units["@id"].combine_chunks()
        if task.kind == "files"
        else pa.array([item.id for item in recordings(task)], pa.string())
        for task in divide(inputs, limit=limit).tasks
    ]
    return pa.chunked_array(ids, pa.string())


def other_content(evidence: Evidence, inputs: Discovered) -> Iterator[str]:
    """Recordings that were read from something else than what `inputs`, or copies of them, hold under their ids."""
    changed = changes(evidence.fs, evidence.run, inputs, moved=True)
    yield from changed.examples
    if len(changed.hashes) > len(changed.examples):
        yield f"{len(changed.hashes):,} recordings in all are of other inputs, or of inputs that changed since"


def unaccounted(evidence: Evidence, ids: pa.ChunkedArray) -> Iterator[str]:
    """Those of `ids` that have neither all their codes nor a failure."""
    coded = np.zeros(len(evidence.rows), bool)
    coded[whole(evidence.recordings)["row"].to_numpy()] = True
    firsts = evidence.rows.select(["id", *PLACE]).filter(pa.array(coded))
    split = pc.or_(firsts["stretches"].is_valid(), firsts["channel"].is_valid())
    files = whole_files(firsts.filter(split), evidence.failed)
    known = [hashes_of(evidence.rows)[coded], hashes_of(evidence.failed), id_hashes(files)]
    lost = pa.table({"id": ids}).filter(pa.array(absent([id_hashes(ids)], known)))
    for row in by_few(lost):
        yield f"{row['id']} is an input that is neither in {CODES} nor in {FAILURES}"
