"""One put to an object store, in a process of its own.

python -m tests.helpers.faults.putter URI BYTES RAISE_AT INTERRUPT_S

Its source breaks at byte RAISE_AT; or the process gets a KeyboardInterrupt INTERRUPT_S after the source has ended. -1:
neither.
"""

import random
import signal
import sys
from typing import BinaryIO

from pipeline.storage.atomic import write_whole
from pipeline.storage.filesystem import locate

PIECE = 64 * 1024


def content(size: int) -> bytes:
    """What is put."""
    return random.Random(size).randbytes(size)


def main(location: str, size: int, raise_at: int, interrupt_s: float) -> None:
    """One put."""
    given = content(size)

    def write(file: BinaryIO) -> None:
        for start in range(0, size, PIECE):
            if 0 <= raise_at < start + PIECE:
                raise RuntimeError("the source broke")
            file.write(given[start : start + PIECE])
        if interrupt_s > 0:
            signal.setitimer(signal.ITIMER_REAL, interrupt_s)

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    fs, path = locate(location)
    write_whole(fs, path, write)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
