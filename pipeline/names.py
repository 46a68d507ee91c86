"""Names as they were found (bytes of file systems and archives, cells of manifests) -> ids: harmless UTF-8 text."""

import os
import re

import pyarrow as pa
import pyarrow.compute as pc

CONTROLS = "[\x00-\x1f\x7f]"
"""Ids are printed, and become file names: no NUL, no line breaks, no terminal escapes."""


def clean_id(name: str) -> str:
    r"""A file's or member's name as an id: undecodable bytes (surrogates) and control characters become \xNN."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name
    return re.sub(CONTROLS, lambda m: f"\\x{ord(m[0]):02x}", text)


def clean_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """`clean_id` for string columns of any length; only the rows that need it leave Arrow."""
    odd = pc.fill_null(pc.match_substring_regex(ids, CONTROLS), False)
    if not pc.any(odd).as_py():
        return ids
    mended = [clean_id(name) for name in ids.filter(odd).to_pylist()]
    return pc.replace_with_mask(ids, odd, pa.array(mended, pa.string()))


def is_hidden(relative: str) -> bool:
    """True where the file, or a folder above it in the input, starts with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in relative.split("/"))
