"""Where everything of a run lies: names of its folders and files, paths of its parts and WAVs."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from pipeline.errors import OutputError
from pipeline.schema import CODES_SCHEMA, FAILURES_SCHEMA
from pipeline.storage.translate import errors_as

CODES = "codes"
FAILURES = "failures"
SKIPPED = "skipped"
"""Parts like those of FAILURES: recordings that `input.min_s`, `input.max_s` and `input.vad` leave out."""
CONTAINERS = ".containers"
"""What containers held that were read to their end: see containers.py."""
SUMS = ".sums"
"""sha256 of parts, until run.json has it: see sums.py."""
RETRYING = ".retrying"
"""Parts like those of FAILURES: what a retry tries again, see retrying.py."""
WAVES = "wav"
PIECES = ".pieces"
"""Chunks of long recordings wait here, below WAVES, as raw PCM until all are there."""
RUN_FILE = "run.json"
REPORT_FILE = "report.html"
SUCCESS_FILE = "_SUCCESS"
"""An empty file: the run is complete."""
LOCK_FILE = ".lock"
"""What the names of all files of the run's lock begin with."""

PARTS = {CODES: CODES_SCHEMA, FAILURES: FAILURES_SCHEMA, SKIPPED: FAILURES_SCHEMA}
"""The folders of a run's parts, and the schemas of these."""
FOLDERS = (CONTAINERS, SUMS, CODES, FAILURES, RETRYING, SKIPPED, WAVES)
"""All folders of a run: what `clear` deletes, and where `sweep` looks for what killed writers leave."""

SHARD = ".tar"
"""What the names of shards of waves end with."""

_UNSAFE = re.compile(r'[%\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_MAX_NAME_BYTES = 180  # of 255: ".wav" and a writer's temporary suffix still fit
_MAX_PATH_BYTES = 1000  # of 4096: the run's own folder still fits


@dataclass(frozen=True)
class WaveKind:
    """How the reconstructions of a run are kept."""

    layout: str = "files"  # a file each; "tar": in shards, one beside each part of codes
    format: str = "wav"  # or "flac"; the suffix


FILES = WaveKind()
"""A WAV each: the default."""


def wave_kind(settings: Mapping[str, Any]) -> WaveKind:
    """The kind that the settings in a run.json name; of a run that is older than the choice, FILES."""
    output = settings.get("output", {})
    return WaveKind(output.get("waves", FILES.layout), output.get("wave_format", FILES.format))


def wave_path(folder: str, id_: str, format: str = FILES.format) -> str:
    """Where the reconstruction of recording `id_` lies, if it is a file."""
    return f"{folder}/{safe_relative_path(id_, format)}.{format}"


def shard_path(folder: str, part: str) -> str:
    """Where the shard with the waves of a part of codes lies; `part` is its name or path."""
    return f"{folder}/{part.rpartition('/')[2].removesuffix('.parquet')}{SHARD}"


def long_shard(id_: str) -> str:
    """The name of the shard of a long recording, which has one of its own."""
    return f"long-{_digest(id_)}{SHARD}"


def sample_key(id_: str) -> str:
    """The WebDataset key of a recording: its id, escaped so that no other id has it. The inverse is `id_of_key`.

    WebDataset's keys end at the first dot of the last component, and keys that begin with "__" may be left out: those
    dots and underscores are escaped, and what is unsafe in a path (see `safe_relative_path`).
    """
    *folders, name = map(_escape, id_.split("/"))
    return re.sub("^__", "%5F_", "/".join([*folders, name.replace(".", "%2E")]))


def id_of_key(key: str) -> str:
    """The id of a WebDataset key."""
    return unquote(key.replace("%_", ""))


def pieces_path(folder: str, id_: str) -> str:
    """The folder in which the chunks of a long recording's reconstruction wait."""
    return f"{folder}/{PIECES}/{hashlib.sha256(id_.encode()).hexdigest()[:32]}"


def parts(fs: FileSystem, run: str, folder: str) -> list[str]:
    """Paths of the parts in RUN/`folder`, in order of name; or what is there instead."""
    return [info.path for info in part_infos(fs, run, folder)]


def is_marked(fs: FileSystem, run: str) -> bool:
    """Whether RUN/_SUCCESS is there."""
    return fs.get_file_info(f"{run}/{SUCCESS_FILE}").type == FileType.File


def part_infos(fs: FileSystem, run: str, folder: str) -> list[FileInfo]:
    """`parts`, with what their store tells of them. Raises OutputError if the folder cannot be listed."""
    with errors_as(f"{run}/{folder}", OutputError):
        found = fs.get_file_info(FileSelector(f"{run}/{folder}", allow_not_found=True))
    return sorted((info for info in found if info.base_name.startswith("part-")), key=lambda info: info.path)


def shards(fs: FileSystem, folder: str) -> list[str]:
    """Paths of the shards of waves in `folder`, in order of name."""
    found = fs.get_file_info(FileSelector(folder, allow_not_found=True))
    return sorted(info.path for info in found if info.type == FileType.File and info.base_name.endswith(SHARD))


def safe_relative_path(id: str, format: str = FILES.format) -> str:
    """Where the wave of a recording goes below its folder, without its suffix: inside it for any id, unique for unique
    ids.

    Ordinary ids stay as they are ("spk1/utt7.flac"). Unsafe characters become the %XX of their UTF-8 bytes, the
    components "", ".", ".." and ".pieces" are escaped, a folder's name does not end in ".wav" (in the format's suffix:
    another id's wave may be there), names over 180 bytes are cut and end in a hash.
    """
    *folders, name = id.split("/")
    parts = [_safe_name(re.sub(rf"\.({format})$", r"%2E\1", _escape(folder))) for folder in folders]
    path = "/".join([*parts, _safe_name(_escape(name))])
    return path if len(path.encode()) <= _MAX_PATH_BYTES else f"%~{_digest(id)}"


def _escape(name: str) -> str:
    if name in ("", ".", "..") or name.lower() == PIECES:  # of any case: some disks do not tell them apart
        return name.replace(".", "%2E") or "%_"
    return _UNSAFE.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode("utf-8", "surrogatepass")), name)


def _safe_name(escaped: str) -> str:
    """ "%~" is never part of an escape, so a shortened name equals no other but by a collision of 128 bits."""
    whole = escaped.encode()
    if len(whole) <= _MAX_NAME_BYTES:
        return escaped
    return f"{whole[: _MAX_NAME_BYTES - 40].decode(errors='ignore')}%~{_digest(escaped)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
