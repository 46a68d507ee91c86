"""What writers that were killed leave in a run's folder."""

import contextlib

from pyarrow.fs import FileSelector, FileSystem, FileType

from pipeline.run.layout import CODES, FAILURES, SKIPPED, WAVES
from pipeline.storage.atomic import UNFINISHED


def unfinished(fs: FileSystem, run: str) -> list[str]:
    """Paths of what writers that were killed left beside run.json, the parts and the WAVs."""
    selectors = [FileSelector(run, allow_not_found=True)]
    for folder in (CODES, FAILURES, SKIPPED, WAVES):
        selectors.append(FileSelector(f"{run}/{folder}", allow_not_found=True, recursive=True))
    found = [info for selector in selectors for info in fs.get_file_info(selector)]
    return [info.path for info in found if info.type == FileType.File and UNFINISHED.fullmatch(info.base_name)]


def sweep(fs: FileSystem, run: str) -> int:
    """Delete what is `unfinished`; returns how many files."""
    orphans = unfinished(fs, run)
    for path in orphans:
        with contextlib.suppress(FileNotFoundError):  # the lock's own, which beats beside run.json
            fs.delete_file(path)
    return len(orphans)
