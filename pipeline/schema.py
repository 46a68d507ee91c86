"""The Arrow schemas of the rows that the stages pass to each other."""

import pyarrow as pa

from actors.pools.arrow import CODES_TYPE

FINGERPRINT_SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # location without credentials; "shard.tar::member", "x.parquet::row 17"
        ("source_size", pa.int64()),  # bytes of the file, or of the container; null: unknown
        ("source_version", pa.string()),  # the server's entity tag, or the time of the last change; null: unknown
        ("start_s", pa.float64()),  # of a segment, as asked for; null: from the beginning
        ("end_s", pa.float64()),  # null: to the end
    ]
)
"""What a recording was read from. With the id it says whether a planned recording is one that is committed."""

CHUNK_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *FINGERPRINT_SCHEMA,
        ("chunk", pa.int32()),  # index of this chunk, from 0
        ("chunks", pa.int32()),  # how many chunks the recording has
        ("first_frame", pa.int64()),  # of this chunk, in the recording
        ("num_samples", pa.int64()),  # at 24 kHz, of this chunk, context and padding not counted
        ("context_samples", pa.int32()),  # left context at the head of "audio", a multiple of FRAME_SAMPLES
        ("source_rate", pa.int32()),  # Hz
        ("source_channels", pa.int32()),
        ("audio", pa.large_list(pa.float32())),  # context, then the chunk, mono, 24 kHz
        ("stage", pa.string()),  # null, or the stage in which the recording failed: read, encode, decode
        ("error", pa.string()),  # null, or the name of a RecordingError
        ("message", pa.string()),  # null, or what was seen, what was expected, what to change
    ]
)
"""A row that a read task yields: a chunk of a recording, or (with "stage" set and "audio" null) a failed recording."""

CODES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *FINGERPRINT_SCHEMA,
        ("chunk", pa.int32()),
        ("chunks", pa.int32()),
        ("first_frame", pa.int64()),
        ("num_frames", pa.int32()),
        ("num_samples", pa.int64()),
        ("duration_s", pa.float64()),
        ("source_rate", pa.int32()),
        ("source_channels", pa.int32()),
        ("codes", CODES_TYPE),
    ]
)
"""One row of RUN/codes/part-*.parquet; the carried columns follow."""

FAILURES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *FINGERPRINT_SCHEMA,
        ("stage", pa.string()),
        ("error", pa.string()),
        ("message", pa.string()),
    ]
)
"""One row of RUN/failures/part-*.parquet."""

MAY_LACK = frozenset(FINGERPRINT_SCHEMA.names) - {"source"}
"""Columns that are null in parts without them: those of other writers, say."""
