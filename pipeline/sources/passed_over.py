"""Files that are no input -> how many of each suffix, in words and for run.json: a few keys for any corpus."""

import re
from collections import Counter
from collections.abc import Mapping

from pipeline.storage.text import is_hidden

HIDDEN, WITHOUT, OTHERS = "hidden", "without suffix", "others"
EMPTY = 'with an empty name between two "/"'
"""A key of an object store that is no path."""
MAX_SUFFIXES = 10
"""In a message and in run.json; those that are rarer are OTHERS."""


def kind_of_other(path: str) -> str:
    """What a file that is no input counts as: HIDDEN (or in a hidden folder), its suffix in lower case, or WITHOUT."""
    found = re.search(r"\.\w{1,10}$", path)
    return HIDDEN if is_hidden(path) else found[0].lower() if found else WITHOUT


def bounded(counts: Mapping[str, int], most: int = MAX_SUFFIXES) -> Counter[str]:
    """The `most` frequent ones, in order, and the sum of the rest as OTHERS."""
    ordered = Counter(counts)
    rest = ordered.pop(OTHERS, 0)
    kept = Counter(dict(ordered.most_common(most)))
    rest += ordered.total() - kept.total()
    return kept + Counter({OTHERS: rest})


def in_words(counts: Mapping[str, int]) -> str:
    """ "12 .txt, 3 .jpg, 1 without suffix"; "nothing" for none."""
    return ", ".join(f"{number:,} {kind}" for kind, number in bounded(counts).items()) or "nothing"
