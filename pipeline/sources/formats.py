"""The table of input formats: suffixes, discovery, reading. A new format is one file beside this and one line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa

from pipeline.audio.suffixes import AUDIO_SUFFIXES
from pipeline.sources import files, manifest, parquet, tar, zip
from pipeline.sources.found import Found, Rules
from pipeline.sources.task import InputRecording, Kind, ReadTask


@dataclass(frozen=True)
class Format:
    """A kind of input. The names of its files, in lower case, end in one of `suffixes`."""

    suffixes: tuple[str, ...]
    discover: Callable[[str, pa.Table, Rules], tuple[list[Found], int]]
    """(the input, UNIT_SCHEMA rows of its files) -> their content, and the number of files without audio."""
    read: Callable[[ReadTask], Iterator[InputRecording]]
    """A task -> every recording that is not committed, in order; a broken one is a recording whose open raises."""
    listed: bool = True  # False: not taken from folders and globs, only if the user names the file


FORMATS: dict[Kind, Format] = {
    "files": Format(AUDIO_SUFFIXES, files.discover, files.read),
    "tar": Format(tar.SUFFIXES, tar.discover, tar.read),
    "zip": Format(zip.SUFFIXES, zip.discover, zip.read),
    "parquet": Format(parquet.SUFFIXES, parquet.discover, parquet.read),
    "manifest": Format(manifest.SUFFIXES, manifest.discover, files.read, listed=False),
}


def suffixes(listed: bool = True) -> tuple[str, ...]:
    """Suffixes of the files that are taken from folders and globs (`listed`), or of those that must be named."""
    return tuple(suffix for format in FORMATS.values() if format.listed == listed for suffix in format.suffixes)


def kind_of(name: str) -> Kind:
    """The kind of a file by its suffix; "files" for an unknown one, which is tried as audio."""
    found = (kind for kind, format in FORMATS.items() if name.lower().endswith(format.suffixes))
    return next(found, "files")


def recordings(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of `task` that is not committed, in order; with a limit, of its first ones."""
    if task.limit is None:
        return FORMATS[task.kind].read(task)
    every = FORMATS[task.kind].read(replace(task, done=task.done.slice(0, 0)))
    done = frozenset(task.done.to_pylist())
    return (one for one in islice(every, task.limit) if one.id not in done)
