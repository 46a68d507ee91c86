"""The table of input formats: suffixes, discovery, reading. A new format is one file beside this and one line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice

import pyarrow as pa

from pipeline.audio.suffixes import AUDIO_SUFFIXES
from pipeline.sources import arrow_dataset as arrow
from pipeline.sources import files as plain
from pipeline.sources import manifest, parquet, tar, zip
from pipeline.sources.found import Found, Rules
from pipeline.sources.manifests.formats import SUFFIXES as MANIFESTS
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
    folders: tuple[tuple[str, ...], ...] = ()
    """A folder that holds all files of one of these tuples is no folder of audio: its first one stands for it."""


FORMATS: dict[Kind, Format] = {
    "files": Format(AUDIO_SUFFIXES, plain.discover, plain.read),
    "tar": Format(tar.SUFFIXES, tar.discover, tar.read),
    "zip": Format(zip.SUFFIXES, zip.discover, zip.read),
    "parquet": Format(parquet.SUFFIXES, parquet.discover, parquet.read),
    "arrow": Format(arrow.SUFFIXES, arrow.discover, arrow.read, listed=False, folders=arrow.FOLDERS),
    "manifest": Format(MANIFESTS, manifest.discover, plain.read, listed=False, folders=(("wav.scp",),)),
}


def suffixes(listed: bool = True) -> tuple[str, ...]:
    """Suffixes of the files that are taken from folders and globs (`listed`), or of those that must be named."""
    return tuple(suffix for format in FORMATS.values() if format.listed == listed for suffix in format.suffixes)


def kind_of(name: str) -> Kind:
    """The kind of a file by its suffix; "files" for an unknown one, which is tried as audio."""
    found = (kind for kind, format in FORMATS.items() if name.lower().endswith(format.suffixes))
    return next(found, "files")


def recordings(task: ReadTask) -> Iterator[InputRecording]:
    """Every recording of `task` that is not committed, in order; with a limit, of its first ones. A file of which each
    channel is one counts as one."""
    if task.limit is None:
        return FORMATS[task.kind].read(task)
    every = FORMATS[task.kind].read(replace(task, done=task.done.slice(0, 0)))
    done = frozenset(task.done.to_pylist())
    return (one for one in islice(every, task.limit) if one.id not in done)


def together(task: ReadTask, found: Iterator[InputRecording]) -> Iterator[list[InputRecording]]:
    """The recordings `found` in `task`, those that are read in one pass over a file together."""
    if task.kind != "files":  # to look at the next member is to read it
        return ([item] for item in found)
    return (list(group) for _, group in groupby(found, key=lambda item: item.open))


def files(task: ReadTask) -> Iterator[list[InputRecording]]:
    """`recordings`, those of one file together."""
    return together(task, recordings(task))
