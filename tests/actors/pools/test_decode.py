"""Rows with codes -> rows with PCM of exactly their samples, as the engine decodes them."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.codec import Codec
from actors.contract import FRAME_SAMPLES
from actors.pools.arrow import codes_array, one_array, to_pcm16
from actors.pools.decode import DecodeCodes
from actors.pools.isolate import Ledger
from tests.helpers.signals import random_codes


def test_waves_are_the_engines_after_the_context_cut_to_their_samples(small_model: Path) -> None:
    codec = Codec.load(str(small_model), "cpu", "fp32")
    context, codes = random_codes(2, seed=1), random_codes(3)
    rows = pa.table(
        {
            "id": ["a", "b", "c"],
            "chunk": [1, 0, 0],
            "num_samples": [3 * FRAME_SAMPLES - 7, None, FRAME_SAMPLES],
            "codes": codes_array([codes, None, np.full((1, 16), 999, np.int16)]),
            "context_codes": codes_array([context, None, np.empty((0, 16), np.int16)]),
            **{name: pa.array([None, "read", None], pa.string()) for name in ("stage", "error", "message")},
        }
    )
    done = DecodeCodes(lambda: codec, Ledger())(rows)
    assert done["error"].to_pylist() == [None, "read", "BadCodes"]
    assert done["wave"].type == pa.large_list(pa.int16())
    whole = to_pcm16(codec.decode([np.concatenate([context, codes])])[0])
    waves = one_array(done["wave"])
    assert np.array_equal(waves[0].values.to_numpy(), whole[2 * FRAME_SAMPLES : -7])
    assert not waves[1].is_valid
    assert not waves[2].is_valid
