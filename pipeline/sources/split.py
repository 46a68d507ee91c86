"""Units of files -> those that one task reads whole, and ranges of chunks for those that several read tasks share.

Only a file that can be read from the middle is shared: a plain local WAV, which is memory-mapped, of a rate at which a
resampler that starts in the middle gives the same bits. Everything else is decoded from its beginning.
"""

import itertools
import os
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.contract import output_length
from pipeline.audio.chunk import chunk_count
from pipeline.audio.resample import period
from pipeline.audio.wav import Wav, read_header
from pipeline.errors import RecordingError
from pipeline.schema import EACH
from pipeline.sources.rows import kept, taken
from pipeline.sources.task import RANGE_SCHEMA
from pipeline.storage.access import Access
from pipeline.storage.location import is_local
from pipeline.storage.opening import open_recording

MAX_SHARED_CHANNELS = 64
"""A WAV with more channels is not shared: its header is probably wrong, and reading it whole reports that."""


def share(
    units: pa.Table, target: int, chunk_samples: int, max_recording_s: float, access: Access
) -> tuple[pa.Table, pa.Table]:
    """(units that stay whole, units with RANGE_SCHEMA's columns appended: a range of about `target` bytes each).

    For a recording of more than twice `target`, the header is read to count its chunks of `chunk_samples` at 24 kHz.
    A recording longer than `max_recording_s` stays whole, so that it fails before any of it is encoded. Segments stay
    whole too, and files of which each channel is a recording: one pass gives all of them.
    """
    large = pc.and_(pc.is_null(units["@start_s"]), pc.is_null(units["@end_s"]))
    large = pc.and_(large, pc.fill_null(pc.not_equal(units["@channel"], EACH), True))
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
    ranges_of = taken(units, np.array(shared))
    ranges_of = ranges_of.set_column(ranges_of.schema.get_field_index("@bytes"), "@bytes", columns["@bytes"])
    for name in RANGE_SCHEMA.names:
        ranges_of = ranges_of.append_column(RANGE_SCHEMA.field(name), columns[name])
    whole = np.ones(units.num_rows, bool)
    whole[shared] = False
    return kept(units, whole), ranges_of


def shareable(file: BinaryIO) -> Wav | None:
    """The header of a WAV that can be read from any sample and is not truncated. None for any other file."""
    try:
        wav = read_header(file, file.seek(0, os.SEEK_END))
    except (RecordingError, OSError):
        return None
    if wav is None or not wav.kind or wav.channels > MAX_SHARED_CHANNELS or period(wav.rate) is None:
        return None
    return None if wav.promised is not None and wav.present < wav.promised else wav


def _local_wav(location: str, access: Access) -> Wav | None:
    """None for a file that cannot be opened or has no valid header: it stays whole, and reading it reports why."""
    if not is_local(location):
        return None
    try:
        with open_recording(location, access) as file:
            return shareable(file)
    except RecordingError:
        return None


def _ranges(wav: Wav, target: int, chunk_samples: int) -> list[dict[str, int]]:
    """Ranges of whole chunks, of nearly equal size and about `target` bytes; none if there would be only one."""
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
