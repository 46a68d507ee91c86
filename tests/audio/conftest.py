"""Small blocks: so that seconds of sound have several, and what happens between two of them is tested."""

from collections.abc import Iterator

import pytest

from pipeline.audio import decode
from tests.audio.blocks import BLOCK_VALUES


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "BLOCK_VALUES", BLOCK_VALUES)
        yield
