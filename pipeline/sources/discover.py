"""One input as the user typed it (a folder, a glob, a file, local or remote) -> what it holds, by kind.

Ids are relative to the input: below a folder or a glob's fixed part, the path; a single file, its name; a manifest, its
"id" column or the path as written.
"""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources import manifest
from pipeline.sources.folder import LISTING_SCHEMA, Listing, has_pattern, list_folder, list_glob
from pipeline.sources.formats import FORMATS, kind_of, suffixes
from pipeline.sources.found import Found, Rules, listed_units
from pipeline.storage.filesystem import look_up
from pipeline.storage.location import file_name, is_local, local_location, local_path, redact
from pipeline.storage.stamp import Stamp
from pipeline.storage.text import clean_id


def discover(location: str, rules: Rules) -> tuple[list[Found], int, list[str]]:
    """One input -> what it holds, how many files were passed over, and which runs were."""
    if has_pattern(location):
        return _of_listing(redact(location), list_glob(location, rules.access, suffixes()), rules)
    is_folder, stamp = look_up(location, rules.access)
    if is_folder:
        return _of_listing(redact(location), list_folder(location, rules.access, suffixes()), rules)
    return _of_file(local_location(local_path(location)) if is_local(location) else location, stamp, rules), 0, []


def _of_file(location: str, stamp: Stamp, rules: Rules) -> list[Found]:
    """A file that was named itself. A Parquet file without audio is a manifest."""
    name = clean_id(file_name(location))
    row = dict(zip(LISTING_SCHEMA.names, (name, location, *stamp), strict=True))
    units = listed_units(pa.Table.from_pylist([row], LISTING_SCHEMA))
    found, others = FORMATS[kind_of(name)].discover(redact(location), units, rules)
    if others:
        found, _ = manifest.discover(redact(location), units, rules)
    return [replace(one, alone=True) for one in found]


def _of_listing(source: str, listing: Listing, rules: Rules) -> tuple[list[Found], int, list[str]]:
    units = listed_units(listing.files)
    found: list[Found] = []
    passed_over = listing.passed_over
    for format in FORMATS.values():
        files = units.filter(_ends_with(units["@id"], format.suffixes))
        if format.listed and files.num_rows:
            more, others = format.discover(source, files, rules)
            found += more
            passed_over += others
    return found, passed_over, [f"{run} in {source}" for run in listing.runs]


def _ends_with(names: pa.ChunkedArray, suffixes: tuple[str, ...]) -> pa.ChunkedArray:
    pattern = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in suffixes) + ")$"
    return pc.match_substring_regex(names, pattern)
