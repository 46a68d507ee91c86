"""`voxmill` on nodes whose GPUs exist for Ray alone, with an engine that waits for a file and computes next to nothing.

python -m tests.helpers.faults.on_gpus LOST_S FILE tokenize ...
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pipeline.cluster.lost_actors
import pipeline.flow
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS
from pipeline.cli.main import main


class Samples:
    """Codes are every FRAME_SAMPLES-th sample."""

    def __init__(self, start: Path) -> None:
        self.start = start

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As the codec's own, once there is the file."""
        while not self.start.exists():
            time.sleep(0.1)
        return [codes_of(wave) for wave in waves]

    def decode(self, codes: Sequence[np.ndarray], pcm16: bool = False) -> list[np.ndarray]:
        """Silence, as long as the codec's own."""
        return [np.zeros(len(one) * FRAME_SAMPLES, np.int16 if pcm16 else np.float32) for one in codes]


def codes_of(wave: np.ndarray) -> np.ndarray:
    """float32 [T] -> int16 [ceil(T / FRAME_SAMPLES), NUM_CODEBOOKS]."""
    codes = np.abs(wave[::FRAME_SAMPLES] * 255).clip(0, 255).astype(np.int16)
    return np.repeat(codes[:, None], NUM_CODEBOOKS, axis=1)


if __name__ == "__main__":
    pipeline.cluster.lost_actors.LOST_S = float(sys.argv.pop(1))
    start = Path(sys.argv.pop(1))
    pipeline.flow.load_codec = lambda spec: Samples(start)
    sys.exit(main())
