"""Where everything of a run lies: names of its folders and files, paths of its parts and WAVs."""

import hashlib
import re

from pyarrow.fs import FileSelector, FileSystem

CODES = "codes"
FAILURES = "failures"
WAVES = "wav"
PIECES = ".pieces"
"""Chunks of long recordings wait here, below WAVES, as raw PCM until all are there."""
RUN_FILE = "run.json"
SUCCESS_FILE = "_SUCCESS"
"""An empty file: the run is complete."""
LOCK_FILE = ".lock"
"""What the names of all files of the run's lock begin with."""

_UNSAFE = re.compile(r'[%\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_MAX_NAME_BYTES = 180  # of 255: ".wav" and a writer's temporary suffix still fit
_MAX_PATH_BYTES = 1000  # of 4096: the run's own folder still fits


def wave_path(folder: str, id_: str) -> str:
    """Where the reconstruction of recording `id_` lies."""
    return f"{folder}/{safe_relative_path(id_)}.wav"


def pieces_path(folder: str, id_: str) -> str:
    """The folder in which the chunks of a long recording's reconstruction wait."""
    return f"{folder}/{PIECES}/{hashlib.sha256(id_.encode()).hexdigest()[:32]}"


def parts(fs: FileSystem, run: str, folder: str) -> list[str]:
    """Paths of the committed parts in RUN/codes or RUN/failures, in order of name; or what is there instead."""
    found = fs.get_file_info(FileSelector(f"{run}/{folder}", allow_not_found=True))
    return sorted(info.path for info in found if info.base_name.startswith("part-"))


def safe_relative_path(id: str) -> str:
    """Where the WAV of a recording goes below its folder, without ".wav": inside it for any id, unique for unique ids.

    Ordinary ids stay as they are ("spk1/utt7.flac"). Unsafe characters become the %XX of their UTF-8 bytes, the
    components "", ".", ".." and ".pieces" are escaped, a folder's name does not end in ".wav" (where another id's WAV
    may be), names over 180 bytes are cut and end in a hash.
    """
    *folders, name = id.split("/")
    parts = [_safe_name(re.sub(r"\.(wav)$", r"%2E\1", _escape(folder))) for folder in folders]
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
