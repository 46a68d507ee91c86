"""A line of the log: what a run says of itself while it goes on, on stderr."""

import contextlib
import os
import sys


def log_line(text: str) -> None:
    """Print it. A log whose reader is gone, or whose disk is full, ends no run: the rest of it goes nowhere."""
    try:
        print(f"voxmill: {text}", file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError):  # stderr may be no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
