"""The command line of this process -> what run.json says of it, without credentials."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.storage.location import redact

FROM_PYTHON = "from Python"
"""Instead of the arguments of a script or a notebook: they are not voxmill's, and may hold anything."""
MOST_CHARS = 4000
"""A shell makes a word of each file that a glob matches; run.json has all inputs once, under `inputs`."""


def command_line(argv: Sequence[str]) -> str:
    """ "voxmill tokenize corpus/ --out run/" where `argv` is of the command, else FROM_PYTHON."""
    name = Path(argv[0]).parts[-2:] if argv else ()
    if name[-1:] != ("voxmill",) and name != ("pipeline", "__main__.py"):
        return FROM_PYTHON
    words = (word.encode("utf-8", "backslashreplace").decode() for word in argv[1:])  # names need not be UTF-8
    typed = shlex.join(["voxmill", *map(redact, words)])
    return typed if len(typed) <= MOST_CHARS else f"{typed[:MOST_CHARS]}... and {len(typed) - MOST_CHARS:,} characters"
