"""A variant and its input -> the peak host memory of a process that runs nothing else.

Two variants in one process would share loaded libraries, and allocators rarely return memory to the system.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from actors.bench.compare import Arrays
from actors.bench.variants import one_variant
from actors.device import memory


def peak_in_own_process(folder: Path, part: str, name: str, items: Arrays) -> int:
    """Bytes, on the CPU: the program, the weights of the variant, and one call of `part` on `items`."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "items.npz"
        np.savez(file, *items)
        arguments = [str(folder), part, name, str(file), str(torch.get_num_threads())]
        command = [sys.executable, "-m", "actors.bench.peak", *arguments]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def main(folder: str, part: str, name: str, file: str, threads: str) -> None:
    """Print the peak memory in bytes."""
    torch.set_num_threads(int(threads))
    device = torch.device("cpu")
    with np.load(file) as stored:
        items = [stored[f"arr_{index}"] for index in range(len(stored.files))]
    one_variant(Path(folder), device, name, part).run(part, items)
    print(memory(device)["host_peak_rss"])


if __name__ == "__main__":
    main(*sys.argv[1:])
