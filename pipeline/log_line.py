"""A line of the log: what a run says of itself while it goes on, on stderr."""

import contextlib
import os
import re
import sys

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Names of columns and errors of parsers may hold what a terminal obeys; line ends and tabs stay."""


def log_line(text: str) -> None:
    """Print it. A log whose reader is gone, or whose disk is full, ends no run: the rest of it goes nowhere."""
    try:
        shown = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
        print(f"voxmill: {shown}", file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError):  # stderr may be no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
