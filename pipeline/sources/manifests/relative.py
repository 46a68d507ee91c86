"""The paths that a manifest writes -> where to open them."""

import os
import posixpath

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.storage.location import (
    around,
    check_scheme,
    folder_of,
    is_local,
    is_uri,
    local_location,
    local_path,
    redact,
    refuse_query,
)
from pipeline.storage.text import replaced

URI = "^[A-Za-z][A-Za-z0-9+.-]*://"


def root_of(location: str, root: str | None) -> str:
    """Where relative paths of the manifest at `location` start: `input.root`, else its own folder."""
    if root is None:
        return folder_of(location)
    return local_location(local_path(root)) if is_local(root) else root


def refuse_other_root(locations: pa.ChunkedArray, root: str, given: str | None) -> None:
    """Raise InputError where the first path below `root` is not there but would be below the current directory, where
    Kaldi and lhotse ran, or below `clips` beside the manifest, as in Common Voice."""
    if given is not None or not is_local(root):
        return
    folder = f"{local_path(root)}/"
    first = next((one for one in locations[:1].to_pylist() if one.startswith(folder)), None)
    if first is None or os.path.exists(first):
        return
    for other in (".", f"{folder}clips"):
        there = os.path.abspath(os.path.join(other, first.removeprefix(folder)))
        if os.path.exists(there):
            raise InputError(
                f"{first}: no such file, but there is {there}: relative paths start at the manifest's folder; set "
                f"input.root={other} where they start there"
            )


def locations(paths: pa.ChunkedArray, manifest: str, schemes: tuple[str, ...], root: str) -> pa.ChunkedArray:
    """Where to open each path: a URI and an absolute path as they are, others relative to `root`."""
    uris = pc.match_substring_regex(paths, URI)
    if pc.any(uris).as_py():
        found = pc.extract_regex(paths.filter(uris), "^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
        for chunk in found.chunks:
            for scheme in chunk.field("scheme").unique().to_pylist():
                check_scheme(f"{scheme}://... in {redact(manifest)}", schemes)
        for uri in paths.filter(pc.and_(uris, pc.match_substring(paths, "?"))).to_pylist():
            refuse_query(uri)
    as_is = pc.or_(uris, pc.or_(pc.starts_with(paths, "/"), pc.equal(paths, "")))
    if pc.all(as_is).as_py():
        return paths
    before, after = around(root)
    relative = paths
    if is_uri(before):
        for mark in "%?#":
            relative = pc.replace_substring(relative, mark, f"%{ord(mark):02X}")
    joined = pc.binary_join_element_wise(before, relative, after, "")
    if is_uri(before):
        joined = _without_dots(joined)
    return pc.if_else(as_is, paths, joined)


def _without_dots(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Object stores know no "..": resolve it where it occurs."""
    dotted = pc.match_substring_regex(uris, r"/\.\.?(/|$)")
    if not pc.any(dotted).as_py():
        return uris
    plain = [_without_dot(uri) for uri in uris.filter(dotted).to_pylist()]
    return replaced(uris, dotted, plain)


def _without_dot(uri: str) -> str:
    path, mark, query = uri.partition("?")
    root, _, rest = path.partition("://")
    host, _, key = rest.partition("/")
    return f"{root}://{host}{posixpath.normpath('/' + key)}{mark}{query}"
