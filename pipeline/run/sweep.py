"""What writers that were killed leave in a run's folder."""

import contextlib

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from pipeline.run.layout import CODES, CONTAINERS, FAILURES, RETRYING, SKIPPED, WAVES
from pipeline.storage.at_once import on_store
from pipeline.storage.atomic import UNFINISHED


def unfinished(fs: FileSystem, run: str) -> list[str]:
    """Paths of what writers that were killed left beside run.json, the parts and the WAVs."""
    selectors = [FileSelector(run, allow_not_found=True)]
    for folder in (CONTAINERS, CODES, FAILURES, RETRYING, SKIPPED, WAVES):
        selectors.append(FileSelector(f"{run}/{folder}", allow_not_found=True, recursive=True))
    found = [info for infos in on_store(fs, fs.get_file_info, selectors) for info in infos]
    return [info.path for info in found if info.type == FileType.File and UNFINISHED.fullmatch(info.base_name)]


def sweep(fs: FileSystem, run: str) -> int:
    """Delete what is `unfinished`; returns how many files. None on a store, where what is unfinished has no name: its
    waves are not listed for that, a request for each thousand."""
    orphans = unfinished(fs, run) if isinstance(fs, LocalFileSystem) else []
    for path in orphans:
        with contextlib.suppress(FileNotFoundError):  # the lock's own, which beats beside run.json
            fs.delete_file(path)
    return len(orphans)
