"""Codes as sequences of tokens: every layout inverts exactly, and says where a code goes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import InputError
from pipeline.run.token_layouts import VOCABULARY, deinterleave, delay, interleave, layout_of, undelay

CODES = st.integers(0, 40).flatmap(lambda frames: arrays(np.int16, (frames, 16), elements=st.integers(0, 2047)))


@given(CODES)
def test_layouts_invert(codes: np.ndarray) -> None:
    for there, back, shape in (
        (interleave, deinterleave, (len(codes) * 16,)),
        (delay, undelay, (len(codes) + 15, 16)),
    ):
        sequence = there(codes)
        again = back(sequence)
        assert sequence.shape == shape
        assert again.dtype == np.int16
        assert np.array_equal(again, codes)


@given(CODES)
def test_where_a_code_goes(codes: np.ndarray) -> None:
    tokens, steps = interleave(codes), delay(codes, pad=-1)
    for frame in range(len(codes)):
        for k in range(16):
            assert tokens[frame * 16 + k] == codes[frame, k] + 2048 * k
            assert steps[frame + k, k] == codes[frame, k]
    assert np.count_nonzero(steps == -1) == 15 * 16


def test_the_vocabulary_fits_into_uint16() -> None:
    highest = interleave(np.full((1, 16), 2047, np.int16))
    assert highest.max() == VOCABULARY - 1 == 32767
    assert interleave(np.zeros((1, 16), np.int16)).tolist() == list(range(0, VOCABULARY, 2048))


@pytest.mark.parametrize("wrong", [np.full((1, 16), 2048), np.full((1, 16), -1), np.zeros((2, 8)), np.zeros(16)])
def test_what_is_no_codes_is_refused(wrong: np.ndarray) -> None:
    for make in (interleave, delay):
        with pytest.raises(ValueError, match="codes"):
            make(wrong.astype(np.int16))


def test_what_no_layout_made_is_refused() -> None:
    for tokens in (np.zeros(17, np.int32), np.zeros((1, 16), np.int32), np.zeros(16, np.int32)):
        with pytest.raises(ValueError, match="expected"):
            deinterleave(tokens)
    for steps in (np.zeros((14, 16), np.int16), np.zeros((20, 8), np.int16), np.full((16, 16), 2048, np.int16)):
        with pytest.raises(ValueError, match="expected"):
            undelay(steps)
    with pytest.raises(ValueError, match="pad 7"):
        delay(np.zeros((1, 16), np.int16), pad=7)
    with pytest.raises(InputError, match="layout 'flat': expected frames, interleaved, delayed"):
        layout_of("flat")
