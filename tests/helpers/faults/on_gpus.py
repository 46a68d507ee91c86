"""`voxmill` on nodes whose GPUs exist for Ray alone, with an engine that takes its time and computes next to nothing.

python -m tests.helpers.faults.on_gpus LOST_S tokenize ...
"""

import sys
import time
from collections.abc import Sequence

import numpy as np

import pipeline.cluster.lost_actors
import pipeline.flow
from actors.contract import FRAME_SAMPLES, NUM_CODEBOOKS
from pipeline.cli.main import main
from pipeline.cluster.load import CodecSpec

CALL_S = 1.0
"""Readers are faster: each actor has all the blocks in hand that it may have."""


class Samples:
    """Codes are every FRAME_SAMPLES-th sample."""

    def encode(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As the codec's own, CALL_S later."""
        time.sleep(CALL_S)
        return [codes_of(wave) for wave in waves]


def codes_of(wave: np.ndarray) -> np.ndarray:
    """float32 [T] -> int16 [ceil(T / FRAME_SAMPLES), NUM_CODEBOOKS]."""
    codes = np.abs(wave[::FRAME_SAMPLES] * 255).clip(0, 255).astype(np.int16)
    return np.repeat(codes[:, None], NUM_CODEBOOKS, axis=1)


def load(spec: CodecSpec) -> Samples:
    """In place of `load_codec`."""
    assert spec.device == "cuda"
    return Samples()


if __name__ == "__main__":
    pipeline.cluster.lost_actors.LOST_S = float(sys.argv.pop(1))
    pipeline.flow.load_codec = load
    sys.exit(main())
