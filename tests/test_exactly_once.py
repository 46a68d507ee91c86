"""Random corpora, random faults at random moments: planned = codes + failures, once, and the codes are the same.

`python -m tests.faults random_faults --times 200` does more of them.
"""

from pathlib import Path

import pytest

from actors.codec import Codec
from tests.helpers.faults.random_runs import disturbed


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu", precision="fp32", threads=1)


@pytest.mark.parametrize("seed", [*range(4), 149954618, 78891367])  # the last two once failed
def test_a_run_with_faults(seed: int, tmp_path: Path, small_model: Path, codec: Codec) -> None:
    assert disturbed(seed, tmp_path, small_model, codec) > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_skips_with_faults(seed: int, tmp_path: Path, small_model: Path, codec: Codec) -> None:
    assert disturbed(seed, tmp_path, small_model, codec, {"input.min_s": 0.15, "input.max_s": 1.2}) > 0
