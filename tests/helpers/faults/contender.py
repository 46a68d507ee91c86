"""A process that tries for runs: "AT_S LOCATION" on stdin -> at that moment (monotonic) it tries, and says how it went.

python -m tests.helpers.faults.contender
"""

import sys
import time

from pipeline.errors import OutputError
from pipeline.run.lock import locked
from pipeline.storage.filesystem import locate

IN, REFUSED = "in\n", "refused\n"


def main() -> None:
    """Who gets in stays there until the next line."""
    for line in sys.stdin:
        at_s, location = line.split()
        fs, run = locate(location)
        time.sleep(max(0.0, float(at_s) - time.monotonic()))
        try:
            with locked(fs, run):
                print(IN, end="", flush=True)
                sys.stdin.readline()
            print("left", flush=True)
        except OutputError as error:
            print(REFUSED if "is writing to this folder" in str(error) else f"{error}\n", end="", flush=True)


if __name__ == "__main__":
    main()
