"""Memory that a recording frees -> kept for the next one, in a process that reads many.

glibc gives the end of its heap back to the kernel whenever more than a few megabytes of it are free. A short clip takes
and frees about as much, so each one would have its pages taken, zeroed and given back again: a tenth of its time.
"""

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 32 << 20
"""Free at the end of the heap that a process keeps: more than all arrays of a clip of half a minute take."""
LARGE_BYTES = 8 << 20
"""A larger array is no part of the heap: it goes back to the kernel when it is freed."""


@functools.cache
def keep_freed() -> None:
    """Of this process, from now on. Nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
