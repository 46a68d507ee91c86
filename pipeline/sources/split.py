"""Units of files -> those that stay whole, and the ranges of chunks of those that several read tasks can share.

Only what can be read from the middle is shared: a plain WAV on a local path, which is memory-mapped, of a rate at which
a resampler that begins inside gives the whole's bits. Everything else is decoded from its beginning.
"""

import itertools
import os
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audio.chunk import chunk_count
from pipeline.audio.resample import output_length, period
from pipeline.audio.wav import Wav, read_header
from pipeline.errors import RecordingError
from pipeline.sources.task import RANGE_SCHEMA
from pipeline.storage.access import Access
from pipeline.storage.location import is_local
from pipeline.storage.opening import open_recording

MAX_CHANNELS = 64
"""More are a microphone array at most, and mostly a header that lies: reading tells."""


def share(
    units: pa.Table, target: int, chunk_samples: int, max_recording_s: float, access: Access
) -> tuple[pa.Table, pa.Table]:
    """(units that stay whole, units with RANGE_SCHEMA's columns behind: a range of about `target` bytes each).

    A recording of more than twice `target` is looked into: its header tells how many chunks of `chunk_samples` at
    24 kHz it has. One that is longer than `max_recording_s` stays whole: it fails, and should before any of it is
    encoded. Segments stay whole too.
    """
    large = pc.and_(pc.is_null(units["@start_s"]), pc.is_null(units["@end_s"]))
    large = pc.and_(pc.greater(units["@bytes"], 2 * target), large)
    shared: list[int] = []
    rows: list[dict[str, int]] = []
    for row in np.flatnonzero(large.to_numpy()).tolist():
        wav = _local_wav(units["@location"][row].as_py(), access)
        if wav is not None and wav.samples <= max_recording_s * wav.rate:
            ranges = _ranges(wav, target, chunk_samples)
            shared += [row] * len(ranges)
            rows += ranges
    if not rows:
        return units, units.slice(0, 0)
    columns = pa.Table.from_pylist(rows, pa.schema([units.schema.field("@bytes"), *RANGE_SCHEMA]))
    ranges_of = units.take(pa.array(shared, pa.int64()))
    ranges_of = ranges_of.set_column(ranges_of.schema.get_field_index("@bytes"), "@bytes", columns["@bytes"])
    for name in RANGE_SCHEMA.names:
        ranges_of = ranges_of.append_column(RANGE_SCHEMA.field(name), columns[name])
    whole = np.ones(units.num_rows, bool)
    whole[shared] = False
    return units.filter(pa.array(whole)), ranges_of


def shareable(file: BinaryIO) -> Wav | None:
    """The header of a WAV that can be read from any sample: all that it promises is there. None for all else."""
    try:
        wav = read_header(file, file.seek(0, os.SEEK_END))
    except (RecordingError, OSError):
        return None
    if wav is None or not wav.kind or wav.channels > MAX_CHANNELS or period(wav.rate) is None:
        return None
    return None if wav.promised is not None and wav.present < wav.promised else wav


def _local_wav(location: str, access: Access) -> Wav | None:
    """What cannot be opened, or has no sound header, stays whole: reading it tells why."""
    if not is_local(location):
        return None
    try:
        with open_recording(location, access) as file:
            return shareable(file)
    except RecordingError:
        return None


def _ranges(wav: Wav, target: int, chunk_samples: int) -> list[dict[str, int]]:
    """Ranges of whole chunks, as equal as can be, of about `target` bytes; none where that would be one."""
    chunks = chunk_count(output_length(wav.samples, wav.rate), chunk_samples)
    count = min(chunks, round(wav.present / target))
    edges = [index * chunks // count for index in range(count + 1)] if count > 1 else []
    return [
        {
            "@bytes": wav.present * (after - first) // chunks,
            "@first_chunk": first,
            "@last_chunk": after - 1,
            "@samples": wav.samples,
        }
        for first, after in itertools.pairwise(edges)
    ]
