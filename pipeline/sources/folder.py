"""A folder or a glob, local or remote -> the files below it, and what was passed over, counted by suffix.

Passed over: hidden files and folders (a leading dot), files that are neither audio nor a container of audio, and runs,
whose WAVs are no inputs.
"""

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.utils import glob_translate

from pipeline.errors import InputError
from pipeline.sources.passed_over import EMPTY, HIDDEN, bounded, kind_of_other
from pipeline.storage.access import Access
from pipeline.storage.filesystem import locate, stamps_below
from pipeline.storage.location import around, check_scheme, is_local, is_uri, local_location, local_path, quoted, redact
from pipeline.storage.network_retry import with_retries
from pipeline.storage.stamp import local_stamp
from pipeline.storage.text import clean_id, is_hidden
from pipeline.storage.translate import opening_errors_as

LISTING_SCHEMA = pa.schema(
    [("path", pa.string()), ("location", pa.string()), ("size", pa.int64()), ("version", pa.string())]
)
"""path: relative to the folder, or to the glob's fixed base; surrogates escaped by text.clean_id. size and version:
a `Stamp`."""

Row = tuple[str, str, int | None, str | None]
BLOCK = 50_000
"""Files that are Python objects at a time."""
MAX_KINDS = 1_000
"""Suffixes that are counted one by one."""


@dataclass(frozen=True)
class Listing:
    """`files` has LISTING_SCHEMA, in a stable order."""

    files: pa.Table
    passed_over: Counter[str]  # as in passed_over.py
    runs: list[str]  # relative paths of runs below it


RUN_FILES = frozenset({"codes", "failures", "wav"})
"""A folder that holds run.json and one of these is a run."""


def has_pattern(location: str) -> bool:
    """True for a glob. In a URI "?" begins the query; a local path that exists is no glob whatever its name."""
    if is_uri(location):
        return "://" in location and re.search(r"[*\[]", location.partition("?")[0]) is not None
    return re.search(r"[*?\[]", location) is not None and not os.path.lexists(local_path(location))


def list_folder(folder: str, access: Access, suffixes: tuple[str, ...], pattern: str = "**") -> Listing:
    """All audio files and containers below `folder` whose relative path, or a folder above it, matches `pattern`."""
    if check_scheme(folder, access.schemes) in ("http", "https"):
        raise no_listing(folder)
    runs: list[str] = []
    with opening_errors_as(folder, InputError):
        return _listing(
            _walk(local_path(folder), pattern, suffixes, runs)
            if is_local(folder)
            else _list_remote(folder, pattern, access, suffixes, runs),
            runs,
        )


def no_listing(folder: str) -> InputError:
    """The error of a folder on a web server."""
    return InputError(f"{redact(folder)}: http servers list no folders; name files, shards or a manifest of them")


def list_glob(location: str, access: Access, suffixes: tuple[str, ...]) -> Listing:
    """The files that a glob matches ("*" stays in a folder, "**" crosses them), and all below folders that match."""
    path, mark, query = location.partition("?") if is_uri(location) else (local_path(location), "", "")
    parts = path.split("/")
    fixed = next(i for i, part in enumerate(parts) if re.search(r"[*?\[]", part))
    return list_folder("/".join(parts[:fixed]) + mark + query or "/", access, suffixes, "/".join(parts[fixed:]))


def _listing(rows: Iterator[Row | str], runs: list[str]) -> Listing:
    batches, passed_over = [], Counter[str]()
    while block := list(islice(rows, BLOCK)):  # in blocks: a million files are no million Python rows
        kept = [row for row in block if not isinstance(row, str)]
        passed_over = bounded(passed_over + Counter(row for row in block if isinstance(row, str)), MAX_KINDS)
        columns = zip(*kept, strict=True) if kept else ((),) * len(LISTING_SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, LISTING_SCHEMA, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=LISTING_SCHEMA))
    return Listing(pa.Table.from_batches(batches, LISTING_SCHEMA), passed_over, runs)


def is_wanted(relative: str, suffixes: tuple[str, ...]) -> bool:
    """True for a file with one of `suffixes`, unless hidden."""
    return relative.lower().endswith(suffixes) and not is_hidden(relative)


def _matcher(pattern: str) -> Callable[[str], object]:
    """A regular expression for a path that matches the glob, or lies below a folder that does."""
    return re.compile(glob_translate(pattern).removesuffix("\\Z") + r"(?:/(?s:.*))?\Z").match


def _list_remote(
    folder: str, pattern: str, access: Access, suffixes: tuple[str, ...], runs: list[str]
) -> Iterator[Row | str]:
    fs, base = locate(folder, access.schemes)
    before, after = around(folder)
    matches = _matcher(unquote(pattern))
    found = with_retries(lambda: stamps_below(fs, base), urlsplit(before).netloc, access)
    files = _below(base, found)
    del found  # it takes as much memory
    runs += _runs(files["path"])
    inside = tuple(f"{run}/" for run in runs)
    last = None
    for block in files.to_batches(max_chunksize=BLOCK):
        for path, size, version in zip(*(column.to_pylist() for column in block.columns), strict=True):
            if path == last:  # pyarrow lists what lies beside a folder without a name twice
                continue
            last = path
            if path.startswith("/") or "//" in path:  # pyarrow opens no such key
                yield EMPTY
            elif matches(path) and not path.startswith(inside):
                row = clean_id(path), f"{before}{quoted(path)}{after}", size, version
                yield row if is_wanted(path, suffixes) else kind_of_other(path)


def _below(base: str, stamps: pa.Table) -> pa.Table:
    """`stamps` with paths relative to `base`, in their order."""
    relative = pc.utf8_slice_codeunits(stamps["path"], len(base))
    relative = pc.replace_substring_regex(relative, "^/", "", max_replacements=1)
    return stamps.set_column(0, "path", relative).sort_by("path")


def _runs(paths: pa.ChunkedArray) -> list[str]:
    """The folders among whose files (relative paths) are those of a run; never the folder that was given itself."""
    records = paths.filter(pc.ends_with(paths, "/run.json")).to_pylist()
    held: dict[str, set[str]] = {path.rpartition("/")[0]: set() for path in records}
    for path in (one.as_py() for one in paths) if held else ():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if (folder := "/".join(parts[:depth])) in held:
                held[folder].add(parts[depth])
    return sorted(folder for folder, names in held.items() if names & RUN_FILES)


def _walk(top: str, pattern: str, suffixes: tuple[str, ...], runs: list[str]) -> Iterator[Row | str]:
    """Depth first, names sorted. Symbolic links to folders come last, and no folder is entered twice: no loops."""
    matches, parts = _matcher(pattern), pattern.split("/")
    folders, links = deque([""]), deque[str]()
    entered: set[tuple[int, int]] = set()
    while folders or links:
        relative = folders.popleft() if folders else links.popleft()
        status = os.stat(os.path.join(top, relative))
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        below: list[str] = []
        entries = sorted(os.scandir(os.path.join(top, relative)), key=lambda entry: entry.name)
        names = {entry.name for entry in entries}
        if relative and "run.json" in names and names & RUN_FILES:
            runs.append(relative)
            continue
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if _is_folder(entry):
                if entry.name.startswith("."):
                    yield HIDDEN
                elif _may_hold(path.split("/"), parts):
                    (links if entry.is_symlink() else below).append(path)
            elif matches(path):
                wanted = is_wanted(path, suffixes) and _is_file(entry)
                yield _local_row(path, entry) if wanted else kind_of_other(path)
        folders.extendleft(reversed(below))


def _may_hold(folder: list[str], pattern: list[str]) -> bool:
    """True where files below `folder` can match: its names match the pattern's, as far as both go before a "**"."""
    fixed = pattern[: pattern.index("**")] if "**" in pattern else pattern
    return all(fnmatchcase(name, part) for name, part in zip(folder, fixed, strict=False))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """A dangling link counts: it becomes a failure instead of vanishing. Pipes, sockets and devices do not."""
    return entry.is_symlink() or entry.is_file(follow_symlinks=False)


def _local_row(relative: str, entry: os.DirEntry[str]) -> Row:
    return clean_id(relative), local_location(entry.path), *local_stamp(entry.path)
