"""Attention over everything and over a window, in segments, against dense masks and upstream's own modules."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function
from transformers.models.mimi.modeling_mimi import apply_rotary_pos_emb

from actors.codec import Codec
from actors.network.attention import Past, attend, band, rotary, rotate
from actors.qwen import load_network
from tests.helpers.engine import CPU, encoder_of
from tests.helpers.signals import noise


@pytest.mark.parametrize("window", [None, 1, 7])
def test_the_window_is_transformers_convention(window: int | None) -> None:
    seen = sliding_window_causal_mask_function(window) if window else causal_mask_function
    steps = torch.arange(20)
    expected = [[bool(seen(0, 0, query, key)) for key in steps] for query in steps]
    assert band(20, 20, window, CPU).tolist() == expected
    assert band(6, 20, window, CPU).tolist() == expected[14:]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.none() | st.integers(1, 12), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_segments_are_the_dense_band(segments: list[int], window: int | None, seed: int) -> None:
    torch.manual_seed(seed)
    total = sum(segments)
    query, key, value = torch.randn(3, 2, 3, total, 4, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=band(total, total, window, CPU))
    past: Past | None = None
    parts = []
    for q, k, v in zip(*(x.split(segments, 2) for x in (query, key, value)), strict=True):
        part, past = attend(q, k, v, window, past)
        parts.append(part)
        assert past is not None
        assert window is None or past.key.shape[2] <= max(window - 1, 0)
    torch.testing.assert_close(torch.cat(parts, 2), expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (90_000, 90_003)])
def test_rotary_is_upstreams(small_model: Path, start: int, stop: int) -> None:
    module = load_network(small_model).encoder.encoder_transformer.layers[0].self_attn.rotary_emb
    query, key = torch.randn(2, 1, 4, stop - start, 16)
    cosine, sine = module(query, torch.arange(start, stop)[None])
    expected = apply_rotary_pos_emb(query, key, cosine, sine)
    frequency = encoder_of(small_model).transformer.inverse_frequency
    assert torch.equal(frequency, module.inv_freq)
    angles = rotary(torch.arange(start, stop), frequency, torch.float32)
    assert torch.equal(angles[0], cosine[0])
    assert torch.equal(rotate(query, *angles), expected[0])
    assert torch.equal(rotate(key, *angles), expected[1])


@torch.inference_mode()
def banded_codes(folder: Path, wave: np.ndarray, window: int) -> np.ndarray:
    """Upstream's network, its attention given a dense band as mask: codes [F, 16]."""
    encoder = load_network(folder).encoder
    x = encoder.encoder(torch.from_numpy(wave)[None, None]).transpose(1, 2)
    mask = band(x.shape[1], x.shape[1], window, CPU)[None, None]
    for layer in encoder.encoder_transformer.layers:
        x = layer(x, attention_mask=mask, position_ids=torch.arange(x.shape[1])[None])[0]
    return encoder.quantizer.encode(encoder.downsample(x.transpose(1, 2)), 16)[:, 0].T.numpy()


def test_window_of_a_long_recording_is_a_dense_band(small_model: Path) -> None:
    wave = noise(400 * 1920)  # 32 s: 800 steps, three windows
    codec = Codec.load(str(small_model), device="cpu", attention="window")
    (codes,) = codec.encode([wave])
    same = codes == banded_codes(small_model, wave, window=250)
    assert same.mean() >= 0.999
    full = Codec.load(str(small_model), device="cpu").encode([wave])[0]
    assert np.array_equal(full[:125], codes[:125])  # 10 s see the same
    assert not np.array_equal(full[125:], codes[125:])


def test_full_in_segments_is_upstreams(small_model: Path) -> None:
    module = load_network(small_model).encoder.encoder_transformer
    x = torch.randn(1, 300, 64)
    with torch.inference_mode():
        expected = module(x)[0]
        whole = encoder_of(small_model).transformer
        torch.testing.assert_close(whole(x.clone(), segment=64), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(whole(x.clone()), expected, rtol=1e-4, atol=1e-5)
