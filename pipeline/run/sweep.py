"""What writers that were killed leave in a run's folder."""

import contextlib
import os
from collections.abc import Iterator

from pyarrow.fs import FileSystem, LocalFileSystem

from pipeline.run.layout import FOLDERS
from pipeline.storage.atomic import UNFINISHED


def unfinished(fs: FileSystem, run: str) -> Iterator[str]:
    """Paths of what writers that were killed left beside run.json, the parts and the WAVs. None on a store, where what
    is unfinished has no name: its waves are not listed for that, a request for each thousand."""
    if isinstance(fs, LocalFileSystem):
        yield from _files(run, deep=False)
        for folder in FOLDERS:
            yield from _files(f"{run}/{folder}", deep=True)


def _files(folder: str, deep: bool) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for one in found:
            if one.is_dir(follow_symlinks=False):
                yield from _files(one.path, deep) if deep else ()
            elif UNFINISHED.fullmatch(one.name):
                yield one.path


def sweep(fs: FileSystem, run: str) -> int:
    """Delete what is `unfinished`; returns how many files."""
    orphans = [*unfinished(fs, run)]
    for path in orphans:
        with contextlib.suppress(FileNotFoundError):  # the lock's own, which beats beside run.json
            fs.delete_file(path)
    return len(orphans)
