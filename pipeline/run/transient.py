"""Failures that another attempt may not meet: bytes that could not be fetched, for another reason than that the store
says no (no such file, no permission, a folder)."""

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from pipeline.errors import UnreadableAudio
from pipeline.run.layout import FAILURES, parts
from pipeline.run.parts import read_part
from pipeline.schema import FAILURES_SCHEMA

BROKEN = "cannot be read ("
"""What `storage.translate.errors_as` and the decoder say of a silent server, a broken connection, a stale mount."""


def lasting(fs: FileSystem, run: str, done: pa.Array) -> pa.Array:
    """`done`, ids of recordings that are committed, without those whose failure may be gone at another attempt.

    Their rows stay: `settle` drops them where codes come, and keeps the first of two failures.
    """
    passing = [pa.array([], pa.large_string())]
    for path in parts(fs, run, FAILURES):
        rows = read_part(fs, path, FAILURES_SCHEMA, FAILURES_SCHEMA.names)
        unread = pc.equal(rows["error"], UnreadableAudio.__name__)
        found = rows.filter(pc.and_(unread, pc.match_substring(rows["message"], BROKEN)))["id"]
        passing += found.cast(pa.large_string()).chunks
    ids = pa.concat_arrays(passing)
    return done.filter(pc.invert(pc.is_in(done, value_set=ids))) if len(ids) else done
