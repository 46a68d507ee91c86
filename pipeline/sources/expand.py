"""The names of sharded files, as NeMo writes them (`manifest__OP_0..127_CL_.json`) -> a name each."""

import re

from pipeline.errors import InputError
from pipeline.storage.location import redact

RANGE = re.compile(r"_OP_(\d{1,9})\.\.(\d{1,9})_CL_")
MAX_FILES = 1_000_000


def expand(location: str) -> list[str]:
    """`location` with every `_OP_a..b_CL_` replaced by the numbers a to b; with leading zeros where a has some."""
    found = RANGE.search(location)
    if found is None:
        return [location]
    first, last = (int(number) for number in found.groups())
    if not 0 <= last - first < MAX_FILES:
        raise InputError(f"{redact(location)}: {found[0]} is no range of at most {MAX_FILES:,} numbers, smallest first")
    width = len(found[1]) if found[1].startswith("0") else 0
    return [
        one
        for number in range(first, last + 1)
        for one in expand(f"{location[: found.start()]}{number:0{width}d}{location[found.end() :]}")
    ]
