"""Memory that a call frees -> kept for the next one, in a process that makes many.

glibc gives freed memory back to the kernel: large arrays one by one, and the end of a heap whenever more than a few
megabytes of it are free. The next call has the same pages taken and zeroed again, at 1.7 us each. Threads but the first
have heaps of 64 MiB, of which each goes back whole unless that much is to be kept ahead.
"""

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_HEAP_BYTES = 64 << 20  # of a thread: twice the largest threshold for arrays, by malloc/arena.c


@functools.cache
def keep_freed(kept_bytes: int, large_bytes: int) -> None:
    """Of this process, from now on: `kept_bytes` free at the end of the heap stay, and arrays of up to `large_bytes`
    (glibc: 32 MiB at most) are part of the heap. Nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, kept_bytes)
        mallopt(_M_TOP_PAD, min(kept_bytes, _HEAP_BYTES))
        mallopt(_M_MMAP_THRESHOLD, large_bytes)
