"""A location -> its file system and the path in it."""

import os
from functools import lru_cache
from urllib.parse import unquote

import pyarrow.fs as pafs

from pipeline.errors import InputError
from pipeline.storage.access import DEFAULT, SCHEMES, Access
from pipeline.storage.http import HttpFile, http_client
from pipeline.storage.location import _split, check_scheme, is_http, local_path
from pipeline.storage.network_retry import with_retries
from pipeline.storage.stamp import Stamp, modified
from pipeline.storage.translate import opening_errors_as

BUFFER_BYTES = 4 << 20
"""Bytes per request for a large remote file: a quarter of a second at 16 MB/s, well above the latency of a request."""

GS_RETRY_S = 60
"""Google's client retries for 15 minutes by default, even without credentials."""


def locate(location: str, schemes: tuple[str, ...] = SCHEMES) -> tuple[pafs.FileSystem, str]:
    """The file system of `location` and the path in it. Opens nothing. Raises InputError if it is not a location."""
    scheme = check_scheme(location, schemes)
    if scheme == "file":
        return pafs.LocalFileSystem(), local_path(location)
    environment = tuple(sorted(i for i in os.environ.items() if i[0].startswith(("AWS_", "GOOGLE_", "HF_"))))
    with opening_errors_as(location, InputError):
        if scheme in ("http", "https"):
            return pafs.PyFileSystem(pafs.FSSpecHandler(http_client())), location
        parts = _split(location)
        path = f"{_host(parts.netloc)}{unquote(parts.path)}".strip("/")
        root = f"{scheme}://{parts.netloc}" + (f"?{parts.query}" if parts.query else "")
        return (_hub(environment) if scheme == "hf" else _object_store(root, environment)), path


def look_up(location: str, access: Access = DEFAULT) -> tuple[bool, Stamp]:
    """Whether `location` is a folder, and the stamp of a file.

    Raises InputError if nothing is there, or if it cannot be reached.
    """
    fs, path = locate(location, access.schemes)
    with opening_errors_as(location, InputError):
        if is_http(location):
            with HttpFile(location, access) as file:
                return False, Stamp(file.size, file.version)
        if isinstance(fs, pafs.PyFileSystem):  # pyarrow's wrapper would hide the cause of an error
            info = with_retries(lambda: fs.handler.fs.info(path), "hf", access)
            return info["type"] == "directory", Stamp(info.get("size"), None)
        info = fs.get_file_info([path])[0]
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(path)
        return info.type == pafs.FileType.Directory, Stamp(info.size, modified(info.mtime_ns))


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


@lru_cache(maxsize=64)
def _object_store(root: str, environment: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    """One cached client per bucket, query and environment: creating one takes tens of milliseconds."""
    if root.startswith("gs://") and "retry_limit_seconds" not in root:
        root += ("&" if "?" in root else "?") + f"retry_limit_seconds={GS_RETRY_S}"
    return pafs.FileSystem.from_uri(root)[0]


@lru_cache(maxsize=4)
def _hub(environment: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    from huggingface_hub import HfFileSystem

    return pafs.PyFileSystem(pafs.FSSpecHandler(HfFileSystem()))
