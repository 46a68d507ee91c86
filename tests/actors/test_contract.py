"""The codec's contract: what an engine offers, held against the real one."""

from pathlib import Path

import numpy as np
import pytest

from actors.codec import Codec
from actors.contract import FRAME_RATE, FRAME_SAMPLES, NUM_CODEBOOKS, SAMPLE_RATE, Engine, frame_count


def test_the_codec_is_an_engine(small_model: Path) -> None:
    engine: Engine = Codec.load(str(small_model), device="cpu", precision="fp32")
    assert (engine.sample_rate, engine.frame_rate, engine.num_codebooks) == (SAMPLE_RATE, FRAME_RATE, NUM_CODEBOOKS)
    assert len(engine.fingerprint) == 64
    codes = engine.encode([np.zeros(FRAME_SAMPLES + 1, np.float32)])[0]
    assert codes.shape == (2, engine.num_codebooks)
    assert codes.max() < engine.codebook_size
    assert engine.decode([codes])[0].shape == (2 * FRAME_SAMPLES,)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (1919, 1), (1920, 1), (1921, 2)])
def test_frames_of_samples(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames
