"""A path or URI as the user typed it -> its scheme, local path, file name and folder, and a form without credentials.

A location is one string: a local path ("~/" is the user's home), or a URI of an allowed scheme. URIs are
percent-decoded, as in pyarrow's `FileSystem.from_uri`: write "%", "?" or "#" in a key as %25, %3F, %23. http(s) URIs
are used as they are. Endpoints and credentials come from the environment (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
...) or from the URI (`s3://key:secret@bucket/...?endpoint_override=host:port&scheme=http`). They are never shown: see
`redact`.
"""

import os
import re
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

from pipeline.errors import InputError
from pipeline.storage.access import SCHEMES

CONTROLS = "[\x00-\x1f\x7f]"
"""As a regular expression: escaped in ids and locations, which are printed and become file names: no NUL, no line
breaks, no terminal escapes."""

STDIN = "-"
"""The location of standard input, as an input."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)/[^/]")


def is_uri(location: str) -> bool:
    """True for "scheme://...", false for a local path."""
    return _URI.match(location) is not None


def redact(text: str) -> str:
    """`text` (a location, or a message with locations in it) without user:password and query strings in its URIs.

    A secret with a "/" in it (it should be %2F) is removed too, unless the part before the "/" looks like a port. Paths
    may hold blanks and quotes: what looks like a query ("?name=value") is removed anywhere behind a URI. So is that of
    a path alone where urllib3 says "with url: /path?query".
    """
    if "with url: " in text:
        text = re.sub(r"(with url: [^?\s]*)[?]\S*", r"\1", text)
    if "://" not in text:  # as nearly all paths: a run looks at one for each recording
        return text
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\":@]*:(?!\d+/)[^\s'\"]*@", r"\1", text)
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"]*@", r"\1", text)
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?]*)[?][^\s'\"]*", r"\1", text)
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^?\n]*)[?][^\s'\"]*=[^\s'\"]*", r"\1", text)


def refuse_query(uri: str) -> None:
    """Raise InputError for a store's URI with a query, where data holds it: what the user types may have one."""
    if uri[:5].lower() in ("s3://", "gs://") and "?" in uri:
        raise InputError(
            f"{redact(uri)} has a query: it could name any server, which would be sent the credentials of this machine."
            " Leave the query out; AWS_ENDPOINT_URL names an endpoint of S3, and ? in a key is %3F"
        )


def check_scheme(location: str, schemes: tuple[str, ...] = SCHEMES) -> str:
    """The scheme of `location`, "file" for a local path. Raises InputError if `schemes` lacks it."""
    scheme = location.split("://", 1)[0].lower() if is_uri(location) else "file"
    if scheme not in schemes:
        raise InputError(
            f"{redact(location)}: the scheme {scheme!r} is not allowed; allowed: {', '.join(schemes)} (input.schemes)"
        )
    return scheme


def local_path(location: str) -> str:
    """The absolute path of a local location; bytes that are not UTF-8 become surrogates, as everywhere in Python.

    Raises InputError for what can be no path, or was meant to be none.
    """
    if not location:
        raise InputError("an empty path: is a shell variable not set? Write . for the current folder")
    if "\0" in location or "%00" in location:
        raise InputError(f"{location!r}: a path cannot contain a NUL character")
    if not is_uri(location):
        _refuse_one_slash(location)
        try:
            return os.path.abspath(os.path.expanduser(location) if location.startswith("~/") else location)
        except FileNotFoundError:
            raise InputError("The working folder was deleted: change to one that is there") from None
    parts = _split(location)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{location}: a file URI has three slashes: file:///{parts.netloc}{parts.path}")
    return os.path.abspath(os.fsdecode(unquote_to_bytes(parts.path)))


def _refuse_one_slash(location: str) -> None:
    """ "s3:/bucket" is refused, unless there is a folder "s3:"."""
    found = _ONE_SLASH.match(location)
    if found and not os.path.isdir(found[1]):
        raise InputError(f"a URI has two slashes: did you mean {redact(location.replace(':/', '://', 1))}?")


def is_http(location: str) -> bool:
    """True for URLs of web servers."""
    return location.lower().startswith(("http://", "https://"))


def local_location(path: str) -> str:
    """The location of an absolute local path: the path itself, or a percent-encoded file URI if it is not UTF-8, or has
    control characters, which no record shows as they are."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"file://{quote(os.fsencode(path))}"
    return f"file://{quote(path)}" if re.search(CONTROLS, path) else path


def absolute(location: str) -> str:
    """A local location (a glob too) by its absolute path, the same for all ways to write it; others as they are."""
    return location if location == STDIN or not is_local(location) else local_location(local_path(location))


def is_local(location: str) -> bool:
    """True for a local path or a file URI."""
    return not is_uri(location) or location[:7].lower() == "file://"


def file_name(location: str) -> str:
    """The last component of the path, percent-decoded."""
    path = local_path(location) if is_local(location) else unquote(_split(location).path)
    return path.rstrip("/").rpartition("/")[2]


def folder_of(location: str) -> str:
    """The folder of a file. It keeps an object store's query (the endpoint), not that of http (often a signature)."""
    if is_local(location):
        return local_location(os.path.dirname(local_path(location)))
    path, mark, query = location.partition("?")
    return path.rpartition("/")[0] + ("" if location.startswith("http") else mark + query)


def around(folder: str) -> tuple[str, str]:
    """(prefix, suffix): together with the relative path of a file, `quoted` in a URI, they form its location."""
    if not is_uri(folder):
        return folder.rstrip("/") + "/", ""
    path, mark, query = folder.partition("?")
    return path.rstrip("/") + "/", mark + query


def quoted(path: str) -> str:
    """`path` as part of a URI: "%", "?", "#" and control characters are percent-encoded."""
    return _printable(path.replace("%", "%25").replace("?", "%3F").replace("#", "%23"))


def _printable(location: str) -> str:
    """Control characters percent-encoded: parsers of URIs leave some of them out."""
    return re.sub(CONTROLS, lambda found: quote(found[0]), location)


def _split(location: str) -> SplitResult:
    try:
        return urlsplit(_printable(location), allow_fragments=False)
    except ValueError as e:
        raise InputError(f"{redact(location)}: not a URI ({e})") from None
