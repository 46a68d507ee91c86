"""--ref-audio: one reference of the speaker, any format and rate -> DIR/ref.wav, mono, 24 kHz, PCM 16.

Without it each recording is its own reference, by its `source`: `check_sources` refuses those that no trainer can open.
"""

from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.fs import FileSystem

from actors.pools.arrow import to_pcm16
from pipeline.audio.decode import open_audio
from pipeline.audio.resample import resample
from pipeline.audio.wav import wave_header
from pipeline.errors import InputError, RecordingError, TooLong
from pipeline.export.shard import Create
from pipeline.run.parts import read_part
from pipeline.run.whole import Whole
from pipeline.schema import CODES_SCHEMA
from pipeline.storage.at_once import at_once
from pipeline.storage.location import redact
from pipeline.storage.opening import open_recording
from pipeline.storage.stamp import UNKNOWN, local_stamps

FILE = "ref.wav"
MAX_S = 60.0
"""Longer ones are refused: trainers load the reference with every record, and seconds of it are enough."""
_VIEW = ("start_s", "end_s", "channel")


def write_reference(location: str, create: Create) -> None:
    """Create `FILE`. Raises InputError for what is no audio, and for more than `MAX_S`."""
    try:
        with open_recording(location) as file, open_audio(file, redact(location), max_recording_s=MAX_S) as audio:
            wave = np.concatenate(list(resample(audio.blocks, audio.rate)))
    except TooLong:
        raise InputError(f"--ref-audio {redact(location)}: longer than {MAX_S:g} s; some seconds suffice.") from None
    except RecordingError as error:
        raise InputError(f"--ref-audio {error}") from error
    content = wave_header(len(wave)) + to_pcm16(wave).astype("<i2").tobytes()
    create(FILE, lambda file: file.write(content))


def check_sources(whole: Whole, track: int | None) -> list[str]:
    """Raise InputError where the `source` of a recording is no local file with this recording alone in it. Returns
    those that are not there: a trainer elsewhere may have them.

    `track`: that the run read of each file (`input.track`).
    """
    if track is not None:
        raise InputError(
            f"The run read audio track {track} of its files (input.track); trainers, which open them by their names,"
            " would read the default one. Give all records one reference with --ref-audio FILE, and the trainer the"
            " tracks as files of their own."
        )
    found = list(at_once(partial(_parts_of_files, whole.fs), whole.parts))
    count, first = sum(count for count, _ in found), next((first for _, first in found if first is not None), None)
    if first is not None:
        raise InputError(
            f"{count:,} of {len(whole):,} recordings cannot be their own reference, the first is {first}. Trainers "
            "open whole local files, and these are members of containers, segments, single channels or URIs. Give all "
            "records one reference with --ref-audio FILE, or tokenize whole local files."
        )
    return [path for gone in map(partial(_gone, whole.fs), whole.parts) for path in gone]


def _gone(fs: FileSystem, part: str) -> list[str]:
    """Sources of recordings of a part, all of them local files, that are not there."""
    rows = read_part(fs, part, CODES_SCHEMA, ["chunk", "source"])
    sources = rows["source"].filter(pc.equal(rows["chunk"], 0)).to_pylist()
    return [path for path, stamp in zip(sources, local_stamps(sources), strict=True) if stamp == UNKNOWN]


def _parts_of_files(fs: FileSystem, part: str) -> tuple[int, str | None]:
    """(how many recordings of a part are no whole local file, the first of them in words)."""
    rows = read_part(fs, part, CODES_SCHEMA, ["chunk", "source", *_VIEW, "source_channels"])
    several = pc.fill_null(pc.greater(rows["source_channels"], 1), True)
    wanted = [
        pc.match_substring_regex(rows["source"], r"^[A-Za-z][A-Za-z0-9+.-]*://|::"),
        pc.is_valid(rows["start_s"]),
        pc.is_valid(rows["end_s"]),
        pc.and_(pc.is_valid(rows["channel"]), several),
    ]
    found = rows.filter(pc.and_(reduce(pc.or_, wanted), pc.equal(rows["chunk"], 0)))
    return len(found), _in_words(found) if len(found) else None


def _in_words(rows: pa.Table) -> str:
    view = {name: rows[name][0].as_py() for name in _VIEW}
    said = [f", {name} {value:g}" for name, value in view.items() if value is not None]
    return redact(rows["source"][0].as_py()) + "".join(said)
