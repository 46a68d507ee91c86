"""Run by the raylet of a local Ray in place of an agent of its own: does nothing, and ends when the raylet has."""

import os
import time

CHECK_S = 0.5

if __name__ == "__main__":
    raylet = os.getppid()
    while os.getppid() == raylet:
        time.sleep(CHECK_S)
