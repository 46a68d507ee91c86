"""A path or URI as the user typed it -> a file system and a path in it, found and written whole.

A location is one string: a local path, or a URI of an allowed scheme. URIs are percent-decoded, as pyarrow's
`FileSystem.from_uri` does: a key with "%", "?" or "#" in its name writes them as %25, %3F, %23. http(s) URIs stay as
they are. Endpoints and credentials come from the environment (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...) or from the
URI (`s3://key:secret@bucket/...?endpoint_override=host:port&scheme=http`), and are never shown: see `redact`.
"""

import errno
import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import BinaryIO, cast
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.errors import InputError, OutputError, VoxmillError
from pipeline.http import HttpFile, http_client
from pipeline.persist import DEFAULT, SCHEMES, Access, client_errors, persist

BUFFER_BYTES = 4 << 20
"""One request of a large remote file: a quarter of a second at 16 MB/s, well above a request's latency."""

GS_RETRY_S = 60
"""Google's client retries for 15 minutes by default, also where no credentials are to be had."""

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")
"""Names under which `write_whole` writes beside; what a killed writer leaves."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_uri(location: str) -> bool:
    """True for "scheme://...", false for a local path."""
    return _URI.match(location) is not None


def redact(text: str) -> str:
    """`text` (a location, or a message that holds some) without user:password and query strings in its URIs.

    A secret with a "/" that should have been %2F is hidden too, unless it looks like a port.
    """
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\":@]*:(?!\d+/)[^\s'\"]*@", r"\1", text)
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"]*@", r"\1", text)
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?]*)[?][^\s'\"]*", r"\1", text)


def check_scheme(location: str, schemes: tuple[str, ...] = SCHEMES) -> str:
    """The scheme of `location`, "file" for a local path. Raises InputError for one that is not among `schemes`."""
    scheme = location.split("://", 1)[0].lower() if is_uri(location) else "file"
    if scheme not in schemes:
        raise InputError(
            f"{redact(location)}: the scheme {scheme!r} is not allowed; allowed: {', '.join(schemes)} (input.schemes)"
        )
    return scheme


def locate(location: str, schemes: tuple[str, ...] = SCHEMES) -> tuple[pafs.FileSystem, str]:
    """The file system of `location` and the path in it. Opens nothing; InputError for what cannot be a location."""
    scheme = check_scheme(location, schemes)
    if scheme == "file":
        return pafs.LocalFileSystem(), local_path(location)
    environment = tuple(sorted(i for i in os.environ.items() if i[0].startswith(("AWS_", "GOOGLE_", "HF_"))))
    with telling(location, InputError):
        if scheme in ("http", "https"):
            return pafs.PyFileSystem(pafs.FSSpecHandler(http_client())), location
        parts = _split(location)
        path = f"{_host(parts.netloc)}{unquote(parts.path)}".strip("/")
        root = f"{scheme}://{parts.netloc}" + (f"?{parts.query}" if parts.query else "")
        return (_hub(environment) if scheme == "hf" else _object_store(root, environment)), path


def local_path(location: str) -> str:
    """The absolute path of a local location; bytes that are no UTF-8 as surrogates, as everywhere in Python."""
    if "\0" in location or "%00" in location:
        raise InputError(f"{location!r}: no path can hold a NUL character")
    if not is_uri(location):
        return os.path.abspath(location)
    parts = _split(location)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{location}: a file URI has three slashes: file:///{parts.netloc}{parts.path}")
    return os.path.abspath(os.fsdecode(unquote_to_bytes(parts.path)))


def is_http(location: str) -> bool:
    """True for URLs of web servers."""
    return location.lower().startswith(("http://", "https://"))


def look_up(location: str, access: Access = DEFAULT) -> tuple[bool, int]:
    """Whether `location` is a folder, and a file's size in bytes (0 where the server does not say).

    Raises InputError where there is nothing, or no way to it.
    """
    fs, path = locate(location, access.schemes)
    with telling(location, InputError):
        if is_http(location):
            with HttpFile(location, access) as file:
                return False, file.size or 0
        if isinstance(fs, pafs.PyFileSystem):  # pyarrow's wrapper would drop the reason
            known = persist(lambda: fs.handler.fs.info(path), "hf", access)
            return known["type"] == "directory", known.get("size") or 0
        info = fs.get_file_info([path])[0]
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(path)
        return info.type == pafs.FileType.Directory, info.size or 0


def local_location(path: str) -> str:
    """The location of an absolute local path: itself, or a file URI where its bytes are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"file://{quote(os.fsencode(path))}"
    return path


def is_local(location: str) -> bool:
    """True where the operating system opens `location` itself."""
    return not is_uri(location) or location[:7].lower() == "file://"


def file_name(location: str) -> str:
    """The last part of the path, decoded."""
    path = local_path(location) if is_local(location) else unquote(_split(location).path)
    return path.rstrip("/").rpartition("/")[2]


def folder_of(location: str) -> str:
    """The folder that a file is in. A query goes with it where it tells the endpoint, not the signature of one file."""
    if is_local(location):
        return local_location(os.path.dirname(local_path(location)))
    path, mark, query = location.partition("?")
    return path.rpartition("/")[0] + ("" if location.startswith("http") else mark + query)


def around(folder: str) -> tuple[str, str]:
    """What stands before and after the (`quoted`) path of a file below `folder` to make it a location."""
    if not is_uri(folder):
        return folder.rstrip("/") + "/", ""
    path, mark, query = folder.partition("?")
    return path.rstrip("/") + "/", mark + query


def quoted(path: str) -> str:
    """A path as part of a URI: what would end it, or be decoded, is escaped."""
    return path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def _split(location: str) -> SplitResult:
    try:
        return urlsplit(location, allow_fragments=False)
    except ValueError as e:
        raise InputError(f"{redact(location)}: not a URI ({e})") from None


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


@lru_cache(maxsize=64)
def _object_store(root: str, environment: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    """One client per bucket, query and environment: making one takes tens of milliseconds."""
    if root.startswith("gs://") and "retry_limit_seconds" not in root:
        root += ("&" if "?" in root else "?") + f"retry_limit_seconds={GS_RETRY_S}"
    return pafs.FileSystem.from_uri(root)[0]


@lru_cache(maxsize=4)
def _hub(environment: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    from huggingface_hub import HfFileSystem

    return pafs.PyFileSystem(pafs.FSSpecHandler(HfFileSystem()))


@contextmanager
def telling(location: str, error: type[VoxmillError]) -> Iterator[None]:
    """Whatever a file system raises becomes `error` with the location's name, without credentials and in one line."""
    try:
        yield
    except VoxmillError:
        raise
    except FileNotFoundError as e:
        cause = e.__cause__  # fsspec: whatever the server answered
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
            raise error(f"{redact(location)}: no such file or folder") from None
        raise error(f"{redact(location)}: cannot be read ({reason(cause)})") from None
    except PermissionError as e:
        raise error(f"{redact(location)}: permission denied ({reason(e)})") from None
    except IsADirectoryError:
        raise error(f"{redact(location)}: a folder, where a file was expected") from None
    except (EOFError, UnicodeError, pa.ArrowException, *client_errors()) as e:
        raise error(f"{redact(location)}: cannot be read ({reason(e)})") from None


def reason(error: BaseException) -> str:
    text = " ".join(redact(str(error)).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__


def write_whole(fs: pafs.FileSystem, path: str, write: Callable[[BinaryIO], object]) -> None:
    """What `write` puts into the file it is given appears at `path` whole or not at all, also after a crash.

    Local: written beside under a hidden name, flushed to the disk, renamed. Object stores: a put is whole already, but
    an interrupted stream is not told from a finished one, so the object is made in a temporary file and sent at once.
    Raises OutputError where the place cannot be written.
    """
    with _writing(path):
        if not isinstance(fs, pafs.LocalFileSystem):
            return _put_whole(fs, path, write)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        beside = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.part")
        try:
            with open(beside, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            if os.path.exists(beside):
                os.unlink(beside)
            raise


def _put_whole(fs: pafs.FileSystem, path: str, write: Callable[[BinaryIO], object]) -> None:
    with tempfile.SpooledTemporaryFile(max_size=BUFFER_BYTES) as whole:
        write(cast(BinaryIO, whole))
        whole.seek(0)
        with fs.open_output_stream(path, compression=None, buffer_size=BUFFER_BYTES) as out:
            while block := whole.read(BUFFER_BYTES):
                out.write(block)


_MAKE_ROOM = "Make room there and run the same command again: it goes on from what is committed."


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        advice = _MAKE_ROOM if e.errno in (errno.ENOSPC, errno.EDQUOT) else "Give --out a folder that can."
        raise OutputError(f"{redact(path)}: cannot be written ({reason(e)}). {advice}") from e


_UNSAFE = re.compile(r'[%\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_MAX_NAME_BYTES = 180  # of 255: ".wav" and a writer's temporary suffix still fit
_MAX_PATH_BYTES = 1000  # of 4096: the run's own folder still fits


def safe_relative_path(id: str) -> str:
    """Where the WAV of a recording goes below its folder, without ".wav": inside it for any id, unique for unique ids.

    Ordinary ids stay as they are ("spk1/utt7.flac"). Unsafe characters become the %XX of their UTF-8 bytes, the
    components "", "." and ".." are escaped, a folder's name does not end in ".wav" (where another id's WAV may be),
    names over 180 bytes are cut and end in a hash.
    """
    *folders, name = id.split("/")
    parts = [_safe_name(re.sub(r"\.(wav)$", r"%2E\1", _escape(folder))) for folder in folders]
    path = "/".join([*parts, _safe_name(_escape(name))])
    return path if len(path.encode()) <= _MAX_PATH_BYTES else f"%~{_digest(id)}"


def _escape(name: str) -> str:
    if name in ("", ".", ".."):
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
