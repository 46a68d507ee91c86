"""The place of a run -> findings: free space, speed of writing and reading. What is written is deleted again."""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow.fs import FileSystem, FileType, LocalFileSystem

from pipeline.doctor.finding import Finding, change, ok, warn
from pipeline.errors import OutputError, VoxmillError
from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate
from pipeline.storage.location import redact

TRIAL = 64 * 2**20
"""Bytes that are written and read."""
SLOW = 20e6
"""Bytes a second: reconstructions are 48 kB for a second of audio, so 400 times real time."""
LEAST_FREE = 2**30
CODES_A_SECOND = 16 * 11 / 8 * 12.5
"""Bytes of codes for a second of audio: 16 codebooks of 2048, 12.5 frames a second."""
WAVE_A_SECOND = 24_000 * 2
"""Bytes of a WAV for a second of audio."""


@contextlib.contextmanager
def scratch(location: str) -> Iterator[tuple[FileSystem, str]]:
    """A folder of its own at `location`, or where the folder would be made, as file system and path; deleted at the
    end. Raises OutputError where nothing can be written."""
    fs, path = locate(location)
    if isinstance(fs, LocalFileSystem):
        if Path(path or ".").is_file():
            raise OutputError(f"{location} is a file; a run is a folder.")
        path = str(existing(Path(path or ".")))
    folder = f"{path}/.voxmill-doctor-{uuid.uuid4().hex[:12]}"
    try:
        yield fs, folder
    finally:
        if fs.get_file_info(folder).type == FileType.Directory:
            fs.delete_dir(folder)


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def check_space(location: str, hours: float | None, reconstruct: bool) -> Finding:
    """Free space for `hours` of audio (None: not said), with a WAV of each recording if `reconstruct`."""
    fs, path = locate(location)
    if not isinstance(fs, LocalFileSystem):
        return ok("free space", f"{redact(location)} is an object store")
    free = shutil.disk_usage(existing(Path(path or "."))).free
    seen = f"{free / 1e9:.1f} GB free at {location}"
    each = CODES_A_SECOND + (WAVE_A_SECOND if reconstruct else 0)
    needed = each * 3600 * (hours or 0)
    if needed > free:
        smaller = "--no-reconstruct, --set output.wave_format=flac (half the size), or " if reconstruct else ""
        return change("free space", seen, f"{needed / 1e9:,.1f} GB for {hours:,.10g} hours", f"{smaller}another --out.")
    if free < LEAST_FREE:
        return change("free space", seen, f"{LEAST_FREE / 1e9:.1f} GB or more", "Free some, or choose another --out.")
    return ok("free space", seen)


def check_speed(location: str, trial: int = TRIAL) -> Finding:
    """Write a file of `trial` bytes whole, as parts are written, read it, delete it."""
    content = os.urandom(trial)
    try:
        with scratch(location) as (fs, folder):
            start = time.perf_counter()
            write_whole(fs, f"{folder}/trial", lambda file: file.write(content))
            wrote_s = time.perf_counter() - start
            read_s = _read(fs, f"{folder}/trial")
    except (OutputError, OSError) as error:
        return change("disk speed", str(error), "a place that can be written", "Choose another --out.")
    written, read = trial / wrote_s, trial / read_s
    seen = f"writes {written / 1e6:,.0f} MB/s, reads {read / 1e6:,.0f} MB/s at {redact(location)}"
    if written < SLOW:
        advice = "Use a local disk or an object store, --set output.waves=tar, or --no-reconstruct."
        return warn("disk speed", seen, f"{SLOW / 1e6:.0f} MB/s or more", advice)
    return ok("disk speed", seen)


def _read(fs: FileSystem, path: str) -> float:
    """Seconds for reading a file; of a local one, not from memory."""
    if isinstance(fs, LocalFileSystem) and hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    with fs.open_input_stream(path) as file:
        while file.read(1 << 22):
            pass
    return time.perf_counter() - start


def check_disk(location: str, hours: float | None, reconstruct: bool) -> list[Finding]:
    """Space and speed of the place `location`."""
    try:
        return [check_space(location, hours, reconstruct), check_speed(location)]
    except VoxmillError as error:
        return [change("disk", str(error), "a place that can be written", "Choose another --out.")]
