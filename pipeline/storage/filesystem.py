"""A location -> its file system and the path in it."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.errors import InputError, OutputError
from pipeline.storage.access import DEFAULT, SCHEMES, Access
from pipeline.storage.at_once import at_once, each_on_store
from pipeline.storage.http import HttpFile, http_client
from pipeline.storage.location import _split, check_scheme, is_http, local_path, redact
from pipeline.storage.network_retry import with_retries
from pipeline.storage.stamp import Stamp, modified
from pipeline.storage.translate import errors_as, opening_errors_as

BUFFER_BYTES = 4 << 20
"""Bytes per request for a large remote file: a quarter of a second at 16 MB/s, well above the latency of a request."""

IO_THREADS = 64
"""That Arrow may have for requests, and connections: its 25 make row groups of several parts wait for each other."""
LISTINGS = 16
"""Of folders of a store, at once."""
MAX_LISTINGS = 2_000
"""Folders of one level that are listed one by one: of more, each may hold a file or two, and a request is for 1,000."""
MAX_LEVELS = 3
"""That are looked at for so many folders as can be listed at once."""

GS_RETRY_S = 60
"""Google's client retries for 15 minutes by default, even without credentials."""

OPTIONS = {"gs": ("retry_limit_seconds", str(GS_RETRY_S)), "s3": ("allow_delayed_open", "true")}
"""Of pyarrow's clients, where a URI does not set them itself. S3 else begins, fills and completes an upload for every
object: three requests, one after the other, for what one puts."""


def locate(location: str, schemes: tuple[str, ...] = SCHEMES) -> tuple[pafs.FileSystem, str]:
    """The file system of `location` and the path in it. Opens nothing. Raises InputError if it is not a location."""
    scheme = check_scheme(location, schemes)
    if scheme == "file":
        return _local(), local_path(location)
    environment = tuple(sorted(i for i in os.environ.items() if i[0].startswith(("AWS_", "GOOGLE_", "HF_"))))
    with opening_errors_as(location, InputError):
        if scheme in ("http", "https"):
            return pafs.PyFileSystem(pafs.FSSpecHandler(http_client())), location
        parts = _split(location)
        if not parts.netloc:
            raise InputError(f"{redact(location)}: nothing is named behind {scheme}://; expected {scheme}://NAME/path")
        path = f"{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}".strip("/")
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
            return info["type"] == "directory", _hub_stamp(info)
        info = fs.get_file_info([path])[0]
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(path)
        return info.type == pafs.FileType.Directory, Stamp(info.size, modified(info.mtime_ns))


def infos(fs: pafs.FileSystem, paths: Sequence[str]) -> list[pafs.FileInfo]:
    """`fs.get_file_info(paths)`; of a store, which pyarrow asks for one path after the other, several at once."""
    return (
        fs.get_file_info(list(paths))
        if isinstance(fs, pafs.LocalFileSystem)
        else list(at_once(fs.get_file_info, paths))
    )


def read_blocks(fs: pafs.FileSystem, path: str) -> Iterator[bytes]:
    """The content of a file of a run, BUFFER_BYTES at a time. Raises OutputError."""
    with errors_as(path, OutputError), fs.open_input_stream(path, compression=None) as file:
        while block := file.read(BUFFER_BYTES):
            yield block


def delete_files(fs: pafs.FileSystem, paths: Sequence[str]) -> None:
    """`fs.delete_file` of each; of a store, several at once. Raises for the first that cannot be deleted."""
    each_on_store(fs, fs.delete_file, paths)


STAMPS_SCHEMA = pa.schema([("path", pa.large_string()), ("size", pa.int64()), ("version", pa.string())])
"""A row a file: its path, and its `Stamp`."""


def stamps_below(fs: pafs.FileSystem, folder: str) -> pa.Table:
    """Of all files below a remote folder, in STAMPS_SCHEMA: as objects, millions of them would fill a driver's memory.
    Raises what the file system's client does."""
    if isinstance(fs, pafs.PyFileSystem):  # pyarrow's wrapper would hide the cause of an error
        hub = fs.handler.fs
        hub.invalidate_cache()  # a notebook lives for days, and would never see a branch change
        return _stamps(hub.find(folder, detail=True).items(), lambda item: (item[0], *_hub_stamp(item[1])))
    listed = (_stamps(infos, _stamp) for infos in _listings(fs, folder))
    return pa.concat_tables([STAMPS_SCHEMA.empty_table(), *listed])


def _stamps(files: Iterable[Any], row: Callable[[Any], tuple[str, int | None, str | None] | None]) -> pa.Table:
    rows = [one for one in map(row, files) if one is not None]
    columns = zip(*rows, strict=True) if rows else ((),) * len(STAMPS_SCHEMA)
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, STAMPS_SCHEMA.types, strict=True)],
        schema=STAMPS_SCHEMA,
    )


def _stamp(info: pafs.FileInfo) -> tuple[str, int | None, str | None] | None:
    is_file = info.type == pafs.FileType.File
    return (info.path, info.size, modified(info.mtime_ns)) if is_file else None


def _listings(fs: pafs.FileSystem, folder: str) -> Iterator[list[pafs.FileInfo]]:
    """Of all below `folder`, several at once: a store gives 1,000 names a request, and one listing asks one by one."""
    folders = [folder]
    for _ in range(MAX_LEVELS):
        found = list(at_once(lambda one: fs.get_file_info(pafs.FileSelector(one)), folders, LISTINGS))
        inside = [info.path for infos in found for info in infos if info.type == pafs.FileType.Directory]
        if len(inside) > MAX_LISTINGS:
            break
        yield from found
        folders = inside
        if not len(folders) < LISTINGS:
            break
    yield from at_once(lambda one: fs.get_file_info(pafs.FileSelector(one, recursive=True)), folders, LISTINGS)


def _hub_stamp(info: Mapping[str, Any]) -> Stamp:
    """The version is git's hash of the content, quoted as an entity tag."""
    return Stamp(info.get("size"), f'"{info["blob_id"]}"' if info.get("blob_id") else None)


@lru_cache(maxsize=1)
def _local() -> pafs.FileSystem:
    return pafs.LocalFileSystem()


@lru_cache(maxsize=64)
def _object_store(root: str, environment: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    """One cached client per bucket, query and environment: creating one takes tens of milliseconds."""
    name, value = OPTIONS.get(root.partition("://")[0], ("", ""))
    if name and name not in root:
        root += f"{'&' if '?' in root else '?'}{name}={value}"
    pa.set_io_thread_count(max(IO_THREADS, pa.io_thread_count()))  # the client takes as many connections, then
    return pafs.FileSystem.from_uri(root)[0]


def _without_credentials(record: logging.LogRecord) -> bool:
    """A filter of logs. The hub's client writes what it tries again, with the signed address of a file."""
    record.msg, record.args = redact(record.getMessage()), ()
    return True


@lru_cache(maxsize=4)
def _hub(environment: tuple[tuple[str, str], ...]) -> pafs.FileSystem:
    logging.getLogger("huggingface_hub.utils._http").addFilter(_without_credentials)
    return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem("hf", skip_instance_cache=True)))
