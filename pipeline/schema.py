"""The Arrow schemas of the rows that the stages pass to each other."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from actors.pools.arrow import CODES_TYPE

FINGERPRINT_SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # location without credentials; "shard.tar::member", "x.parquet::row 17"
        ("source_size", pa.int64()),  # bytes of the file, or of the container; null: unknown
        ("source_version", pa.string()),  # the server's entity tag, or the time of the last change; null: unknown
        ("start_s", pa.float64()),  # of a segment, as asked for; null: from the beginning
        ("end_s", pa.float64()),  # null: to the end
        ("channel", pa.int32()),  # from 1; null: the mean over all; EACH: in failures of the whole file
        ("stretches", pa.int32()),  # of speech in the file, or in its channel, of which this is one; null: it is none
    ]
)
"""What a recording was read from. With the id it says whether a planned recording is one that is committed."""

EACH = 0
"""The channel of a file of which every channel is a recording. How many it has is known once it is open."""


def channel_id(id_: str, channel: int) -> str:
    """The id of a channel (from 1) of the file `id_`, where each is a recording."""
    return f"{id_}@ch{channel}"


def file_ids(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Of what may be a `channel_id` the file's id; any other id as it is."""
    return pc.replace_substring_regex(ids, r"@ch[1-9][0-9]*$", "")


def stretch_id(id_: str, start_s: float, end_s: float) -> str:
    """The id of a stretch of speech of `id_`, to the millisecond: as of a manifest's segment, before its channel."""
    begin, end = (f"{seconds:.3f}".rstrip("0").rstrip(".") for seconds in (start_s, end_s))
    file, mark, channel = id_.rpartition("@ch") if re.search(r"@ch[1-9][0-9]*$", id_) else (id_, "", "")
    return f"{file}#{begin}-{end}{mark}{channel}"


def spoken_ids(ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Of what may be a `stretch_id` the id of what it is a stretch of; any other id as it is."""
    return pc.replace_substring_regex(ids, r"#[0-9.]+-[0-9.]+(@ch[1-9][0-9]*)?$", r"\1")


def parents(ids: pa.Array) -> pa.Array:
    """The ids of all that recordings of these `ids` may be a stretch or a channel of."""
    spoken = spoken_ids(ids)
    return pa.concat_arrays([file_ids(ids), spoken, file_ids(spoken)])


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
        ("stage", pa.string()),  # null, or the stage in which the recording failed: read, encode, decode; or SKIP
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
        ("source_channels", pa.int32()),  # null where the file could not be opened
        ("stage", pa.string()),
        ("error", pa.string()),
        ("message", pa.string()),
    ]
)
"""One row of RUN/failures/part-*.parquet, and of RUN/skipped/part-*.parquet."""

STAGES = ("read", "encode", "decode", "waves", "write")
"""In the order of the dataflow. "waves": WAVs as files of their own; shards of them are written by "write"."""

SKIP = "skip"
"""The "stage" of a recording that the settings leave out (`input.min_s`, `input.max_s`, `input.vad`): no failure."""

MAY_LACK = frozenset([*FINGERPRINT_SCHEMA.names, "source_channels"]) - {"source"}
"""Columns that are null in parts without them: those of other writers, say."""
