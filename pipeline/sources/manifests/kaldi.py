"""A Kaldi data directory, by its wav.scp -> a table: segments, text, utt2spk and reco2file_and_channel beside it.

Ids are those of the utterances: of `segments`, else of wav.scp itself. Commands are refused, never run.
"""

from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.sources.manifests.lines import read_lines
from pipeline.sources.manifests.parsed import END, START, Given, Parsed, repeated
from pipeline.storage.text import narrow_text

COLUMNS = {"text": "text", "utt2spk": "speaker"}
"""Files of one value an utterance -> the columns of the output."""
TO_THE_END = -1.0
"""The end of a segment that Kaldi's extract-segments reads to the end of its recording."""
CHANNELS = "^(?:[AB]|[1-9][0-9]{0,5})$"
KEY_VALUE = r"^\s*(?P<key>\S+)\s*(?P<value>.*?)\s*$"
ROWS = 100_000
"""Of text that becomes a chunk: no such chunk holds more than 2 GiB."""
SEGMENT = r"^\s*(?P<id>\S+)\s+(?P<recording>\S+)\s+(?P<start>[-+.0-9eE]+)\s+(?P<end>[-+.0-9eE]+)\s*$"


def read(given: Given) -> Parsed:
    """One row an utterance. Raises InputError for a command, an archive, or a line that Kaldi could not read."""
    keys, paths = _fields(given.open, KEY_VALUE, given.name)
    _refuse(pc.ends_with(paths, "|"), paths, given.name, "a command, and none is run here; write the file's path")
    _refuse(
        pc.match_substring_regex(paths, r"^(?:-|ark:.*|scp:.*|.*:[0-9]+)$"),
        paths,
        given.name,
        "a place in an archive or a stream; write the path of an audio file",
    )
    _refuse(pc.equal(paths, ""), keys, given.name, "a recording without a path")
    columns = {"id": keys, "path": paths, "channel": _channels(given, keys)}
    used = [given.name.rpartition("/")[2]]
    if (segments := given.beside("segments")) is not None:
        columns = _cut(columns, _fields(segments, SEGMENT, _other(given, "segments")), given)
        used.append("segments")
    for name, column in COLUMNS.items():
        if (opener := given.beside(name)) is not None:
            names, values = _fields(opener, KEY_VALUE, _other(given, name))
            _refuse_twice(names, _other(given, name))
            columns[column] = _short(values.take(pc.index_in(columns["id"], names)))
            used.append(name)
    return Parsed(pa.table(columns), path="path", notes=(f"{given.name}: Kaldi's {', '.join(used)}",))


def _other(given: Given, name: str) -> str:
    return f"{given.name.rpartition('/')[0]}/{name}"


def _short(text: pa.Array) -> pa.ChunkedArray:
    return narrow_text(pa.chunked_array([text.slice(row, ROWS) for row in range(0, len(text), ROWS)], text.type))


def _fields(opener: Callable[[], BinaryIO], pattern: str, name: str) -> list[pa.Array]:
    """The groups of `pattern` in every line, large_string. Raises InputError where a line does not match it."""
    lines = read_lines(opener).cast(pa.large_string()).combine_chunks()  # of 50 million lines: over 2 GiB
    found = pc.extract_regex(lines, pattern)
    _refuse(pc.is_null(found), lines, name, "not a line of this file")
    if not len(found):
        raise InputError(f"{name}: an empty file")
    return found.flatten()


def _refuse(bad: pa.Array, shown: pa.Array, name: str, why: str) -> None:
    where = np.flatnonzero(bad.to_numpy(zero_copy_only=False))
    if len(where):
        more = f" ({len(where) - 1:,} more such lines)" if len(where) > 1 else ""
        raise InputError(f"{name}, line {where[0] + 1}: {shown[int(where[0])].as_py()[:200]!r} is {why}{more}")


def _refuse_twice(names: pa.Array, name: str) -> None:
    if (twice := repeated(names)) is not None:
        raise InputError(f"{name}: two lines are of {twice!r}; expected one, for nothing tells which is right")


def _cut(columns: dict[str, pa.Array], segments: list[pa.Array], given: Given) -> dict[str, pa.Array]:
    """The utterances of `segments` instead of the recordings of wav.scp."""
    ids, recordings, starts, ends = segments
    name = _other(given, "segments")
    if (twice := repeated(columns["id"])) is not None:
        raise InputError(f"{given.name}: two lines have the recording {twice!r}; segments cannot tell them apart")
    rows = pc.index_in(recordings, columns["id"])
    _refuse(pc.is_null(rows), recordings, name, f"no recording of {given.name}")
    end = _seconds(ends, name)
    return {
        "id": ids,
        "path": columns["path"].take(rows),
        START: _seconds(starts, name),
        END: pc.if_else(pc.equal(end, TO_THE_END), None, end),
        "channel": columns["channel"].take(rows),
    }


def _seconds(text: pa.Array, name: str) -> pa.Array:
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid as e:
        raise InputError(f"{name}: a time is no number of seconds ({e})") from None


def _channels(given: Given, recordings: pa.Array) -> pa.Array:
    """Of each recording, int32: A and 1 are the first channel, B and 2 the second; null where none is named."""
    opener = given.beside("reco2file_and_channel")
    if opener is None:
        return pa.nulls(len(recordings), pa.int32())
    name = _other(given, "reco2file_and_channel")
    keys, _, channels = _fields(opener, r"^\s*(?P<key>\S+)\s+(?P<file>\S+)\s+(?P<channel>\S+)\s*$", name)
    _refuse_twice(keys, name)
    known = pc.match_substring_regex(channels, CHANNELS)
    _refuse(pc.invert(known), channels, name, "no channel; expected A, B, 1, 2 and so on")
    numbers = pc.replace_substring(pc.replace_substring(channels, "A", "1"), "B", "2").cast(pa.int32())
    return numbers.take(pc.index_in(recordings, keys))
