"""Failures that another attempt may not meet: bytes that could not be fetched, for another reason than that the store
says no (no such file, no permission, a folder)."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UnreadableAudio

BROKEN = "cannot be read ("
"""What `storage.translate.errors_as` and the decoder say of a silent server, a broken connection, a stale mount."""


def may_pass(failures: pa.Table) -> pa.ChunkedArray:
    """Which of `failures` (columns error and message) are of this kind: bool, a row each."""
    unread = pc.equal(failures["error"], UnreadableAudio.__name__)
    return pc.fill_null(pc.and_(unread, pc.match_substring(failures["message"], BROKEN)), False)
