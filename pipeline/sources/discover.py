"""One input as the user typed it (a folder, a glob, a file, local or remote, standard input) -> what it holds, by kind.

Ids are relative to the input: below a folder or a glob's fixed part, the path; a single file, its name; a manifest, its
"id" column or the path as written.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from pipeline.errors import InputError
from pipeline.sources import manifest
from pipeline.sources.folder import LISTING_SCHEMA, Listing, has_pattern, list_folder, list_glob, no_listing
from pipeline.sources.formats import FORMATS, kind_of, suffixes
from pipeline.sources.found import Found, Rules, listed_units
from pipeline.sources.rows import kept
from pipeline.storage.filesystem import infos, locate, look_up
from pipeline.storage.location import STDIN, around, file_name, is_http, is_local, local_location, local_path, redact
from pipeline.storage.stamp import UNKNOWN, Stamp
from pipeline.storage.text import clean_id
from pipeline.storage.translate import opening_errors_as


def discover(location: str, rules: Rules) -> tuple[list[Found], Counter[str], list[str]]:
    """One input -> what it holds, what was passed over (counted as in passed_over.py), and which runs were."""
    if location == STDIN:
        return _of_file(location, UNKNOWN, rules), Counter(), []
    if has_pattern(location):
        return _of_listing(redact(location), list_glob(location, rules.access, suffixes()), rules)
    if is_http(location) and (location.endswith("/") or not file_name(location)):
        raise no_listing(location)
    is_folder, stamp = look_up(location, rules.access)
    if is_folder and (corpus := _of_corpus(location, rules)):
        return corpus, Counter(), []
    if is_folder:
        return _of_listing(redact(location), list_folder(location, rules.access, suffixes()), rules)
    return (
        _of_file(local_location(local_path(location)) if is_local(location) else location, stamp, rules),
        Counter(),
        [],
    )


def _of_file(location: str, stamp: Stamp, rules: Rules) -> list[Found]:
    """A file that was named itself. A Parquet file without audio is a manifest."""
    name = clean_id(file_name(location))
    units = _file_units(name, location, stamp)
    found, others = FORMATS["manifest" if location == STDIN else kind_of(name)].discover(redact(location), units, rules)
    if others:
        found, _ = manifest.discover(redact(location), units, rules)
    return [replace(one, alone=True) for one in found]


def _of_corpus(folder: str, rules: Rules) -> list[Found]:
    """A folder that is a corpus of a known layout (Format.folders) -> what it holds; empty for other folders."""
    fs, path = locate(folder, rules.access.schemes)
    before, after = around(local_location(path) if is_local(folder) else folder)
    layouts = [(kind, names) for kind, format in FORMATS.items() for names in format.folders]
    wanted = sorted({name for _, names in layouts for name in names})
    with opening_errors_as(folder, InputError):
        found = infos(fs, [f"{path.rstrip('/')}/{name}" for name in wanted])
    there = {name for name, info in zip(wanted, found, strict=True) if info.type == pafs.FileType.File}
    for kind, names in layouts:
        if there.issuperset(names):
            units = _file_units(names[0], f"{before}{names[0]}{after}", UNKNOWN)
            return FORMATS[kind].discover(redact(folder), units, rules)[0]
    return []


def _file_units(name: str, location: str, stamp: Stamp) -> pa.Table:
    row = dict(zip(LISTING_SCHEMA.names, (name, location, *stamp), strict=True))
    return listed_units(pa.Table.from_pylist([row], LISTING_SCHEMA))


def _of_listing(source: str, listing: Listing, rules: Rules) -> tuple[list[Found], Counter[str], list[str]]:
    units = listed_units(listing.files)
    found: list[Found] = []
    passed_over = Counter(listing.passed_over)
    for format in FORMATS.values():
        files = kept(units, _ends_with(units["@id"], format.suffixes))
        if format.listed and files.num_rows:
            more, others = format.discover(source, files, rules)
            found += more
            passed_over += Counter({format.suffixes[0]: others})
    return found, passed_over, [f"{run} in {source}" for run in listing.runs]


def _ends_with(names: pa.ChunkedArray, suffixes: tuple[str, ...]) -> np.ndarray:
    pattern = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in suffixes) + ")$"
    return pc.match_substring_regex(names, pattern).to_numpy()
