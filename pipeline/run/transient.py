"""Failures that another attempt may not meet: bytes that could not be fetched, for another reason than that the store
says no (no such file, no permission, a folder)."""

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from pipeline.errors import UnreadableAudio
from pipeline.run.layout import FAILURES, parts
from pipeline.run.parts import read_part
from pipeline.schema import FAILURES_SCHEMA, parents

BROKEN = "cannot be read ("
"""What `storage.translate.errors_as` and the decoder say of a silent server, a broken connection, a stale mount."""


def may_pass(failures: pa.Table) -> pa.ChunkedArray:
    """Which of `failures` (columns error and message) are of this kind: bool, a row each."""
    unread = pc.equal(failures["error"], UnreadableAudio.__name__)
    return pc.fill_null(pc.and_(unread, pc.match_substring(failures["message"], BROKEN)), False)


def lasting(fs: FileSystem, run: str, done: pa.Array) -> pa.Array:
    """`done`, ids of recordings that are committed, without those whose failure may be gone at another attempt.

    Their rows stay: `settle` drops them where codes come, and keeps another failure rather than them.
    """
    passing = [pa.array([], pa.large_string())]
    for path in parts(fs, run, FAILURES):
        rows = read_part(fs, path, FAILURES_SCHEMA, FAILURES_SCHEMA.names)
        passing += rows.filter(may_pass(rows))["id"].cast(pa.large_string()).chunks
    ids = pa.concat_arrays(passing)
    ids = pa.concat_arrays([ids, parents(ids)])  # a file is not done where a part of it is not
    return done.filter(pc.invert(pc.is_in(done, value_set=ids))) if len(ids) else done
