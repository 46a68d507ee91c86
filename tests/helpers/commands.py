"""The command `voxmill` in this process, and small corpora for it."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from actors.codec import Codec
from pipeline.cli.main import main
from tests.helpers.faults.chaos import Chaos, without_ray
from tests.helpers.rows import tone


def voxmill(*arguments: object) -> int:
    """Run the command; returns its exit code."""
    before = sys.argv
    sys.argv = ["voxmill", *map(str, arguments)]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


@contextlib.contextmanager
def in_process(codec: Codec, seed: int = 0) -> Iterator[None]:
    """Inside, `voxmill tokenize` runs without Ray and without faults; tasks in a random order."""
    with without_ray(codec, Chaos(np.random.default_rng(seed))):
        yield


def speak(folder: Path, seconds: Mapping[str, float]) -> Path:
    """WAVs of these lengths below `folder`, which is returned."""
    for number, (name, length) in enumerate(seconds.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, tone(length, seed=number), 24_000)
    return folder
