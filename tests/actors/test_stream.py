"""Streams: any pieces give what one call gives; bounded state; copies and batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.codec import Codec
from actors.contract import FRAME_SAMPLES
from actors.device import cpu_has_bf16
from pipeline import load_audio
from pipeline.errors import BadCodes, NonFiniteAudio, SettingsError, UnsupportedAudio
from tests.helpers.rows import tone

WAVE = tone(14.0, seed=5)[:-777]  # longer than the window of 10 s, not whole frames


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu", precision="fp32", attention="window")


@pytest.fixture(scope="module")
def codes(codec: Codec) -> np.ndarray:
    return codec.encode([WAVE])[0]


def pieces(array: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    """`array` cut at the given places, modulo its length."""
    return np.split(array, sorted({cut % (len(array) + 1) for cut in cuts}))


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=12))
def test_any_pieces_encode_like_one_call(codec: Codec, codes: np.ndarray, cuts: list[int]) -> None:
    stream = codec.stream_encoder()
    found = np.concatenate([*map(stream.feed, pieces(WAVE, cuts)), stream.flush()])
    assert found.shape == codes.shape
    assert found.dtype == np.int16
    assert np.mean(found == codes) > 0.999


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=12))
def test_any_pieces_decode_like_one_call(codec: Codec, codes: np.ndarray, cuts: list[int]) -> None:
    stream = codec.stream_decoder()
    found = np.concatenate([*map(stream.feed, pieces(codes, cuts)), stream.flush()])
    whole = codec.decode([codes])[0]
    assert found.shape == whole.shape
    noise = np.sqrt(np.mean((found - whole) ** 2)) + 1e-12
    assert 20 * np.log10(np.sqrt(np.mean(whole**2)) / noise) > 90


@pytest.mark.parametrize("samples", [0, 1, FRAME_SAMPLES - 1, FRAME_SAMPLES, FRAME_SAMPLES + 1])
def test_a_frame_is_there_with_its_last_sample(codec: Codec, samples: int) -> None:
    stream = codec.stream_encoder()
    now, rest = stream.feed(WAVE[:samples]), stream.flush()
    assert now.shape == (samples // FRAME_SAMPLES, 16)
    assert len(now) + len(rest) == -(-samples // FRAME_SAMPLES)
    assert np.array_equal(np.concatenate([now, rest]), codec.encode([WAVE[:samples]])[0])


def test_new_input_never_changes_past_codes(codec: Codec) -> None:
    one, other = codec.stream_encoder(), codec.stream_encoder()
    start = WAVE[: 20 * FRAME_SAMPLES]
    assert np.array_equal(one.feed(start), other.feed(np.concatenate([start, np.ones(100, np.float32)])))


def test_int16_is_float32_of_full_scale_one(codec: Codec) -> None:
    pcm = (WAVE[:48000] * 32768).astype(np.int16)
    a, b = codec.stream_encoder(), codec.stream_encoder()
    assert np.array_equal(a.feed(pcm), b.feed(pcm.astype(np.float32) / 32768))


@pytest.mark.parametrize("batch", [1, 3])
def test_another_rate_is_resampled(codec: Codec, batch: int) -> None:
    wave = soxr.resample(WAVE[: 4 * 24000], 24000, 16000)
    expected = codec.encode([soxr.resample(wave, 16000, 24000)])[0]
    stream = codec.stream_encoder(batch, rate=16000)
    fed = [wave[low : low + 999] for low in range(0, len(wave), 999)]
    found = [stream.feed(piece if batch == 1 else np.stack([piece] * batch)) for piece in fed]
    found = np.concatenate([*found, stream.flush()], axis=-2)
    assert np.mean(found.reshape(batch, -1, 16) == expected) > 0.999
    with pytest.raises(SettingsError, match="cannot be copied"):
        stream.copy()


@pytest.mark.parametrize(
    ("rate", "samples"),
    [(11025, 882), (22050, 1764), (22050, 5292), (32000, 4999), (44100, 10_584), (44100, 10_583), (96000, 1)],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_stream_at_another_rate_is_as_long_as_one_call(codec: Codec, rate: int, samples: int, batch: int) -> None:
    """Of librosa's length, which is a sample longer than soxr's in most of these."""
    wave = np.resize(WAVE, samples)
    expected = codec.encode([load_audio((wave, rate))])[0]
    stream = codec.stream_encoder(batch, rate)
    for _ in range(2):  # flush resets what was counted
        fed = [stream.feed(np.stack([wave[low : low + 5000]] * batch)) for low in range(0, samples, 5000)]
        found = np.concatenate([*fed, stream.flush()], axis=-2).reshape(batch, -1, 16)
        assert found.shape == (batch, *expected.shape)
        assert np.mean(found == expected) > 0.999


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": 1}, "rate is 1; it can be a whole number of Hz in 4000-192000"),
        ({"rate": 192_001}, "rate is 192001"),
        ({"rate": 16_000.5}, "rate is 16000.5"),
        ({"rate": "16000"}, "rate is '16000'"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"batch": 2.0}, "batch is 2.0"),
        ({"batch": "2"}, "batch is '2'"),
    ],
)
def test_refused_streams(codec: Codec, given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        codec.stream_encoder(**given)
    if "batch" in given:
        with pytest.raises(SettingsError, match=said):
            codec.stream_decoder(**given)


def test_autocast_of_the_caller_is_off(codec: Codec, small_model: Path) -> None:
    wave = WAVE[:30_000]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loaded = Codec.load(str(small_model), device="cpu", precision="fp32", attention="window")
        codes = loaded.encode([wave])[0]
        decoded = loaded.decode([codes])[0]
        streamed = np.concatenate([(stream := loaded.stream_encoder()).feed(wave), stream.flush()])
        live = loaded.stream_decoder().feed(codes)
    assert np.array_equal(codes, codec.encode([wave])[0])
    assert np.array_equal(decoded, codec.decode([codes])[0])
    assert np.array_equal(streamed, codes)
    assert np.array_equal(live, codec.stream_decoder().feed(codes))


def test_a_batch_in_lockstep_equals_single_streams(codec: Codec) -> None:
    waves = np.stack([tone(3.0, seed=seed) for seed in range(3)])
    stream = codec.stream_encoder(3)
    found = np.concatenate([stream.feed(waves[:, :5000]), stream.feed(waves[:, 5000:]), stream.flush()], 1)
    expected = np.stack(codec.encode(list(waves)))
    assert np.mean(found == expected) > 0.999
    decoder = codec.stream_decoder(3)
    wave = np.concatenate([decoder.feed(found[:, :7]), decoder.feed(found[:, 7:]), decoder.flush()], 1)
    assert np.abs(wave - np.stack(codec.decode(list(found)))).max() < 1e-4


def test_copies_go_their_own_ways_and_reset_forgets(codec: Codec, codes: np.ndarray) -> None:
    stream = codec.stream_encoder()
    first = stream.feed(WAVE[:200_000])
    twin = stream.copy()
    twin.feed(tone(1.0, seed=9))
    rest = np.concatenate([stream.feed(WAVE[200_000:]), stream.flush()])
    assert np.mean(np.concatenate([first, rest]) == codes) > 0.999
    assert np.mean(np.concatenate([stream.feed(WAVE), stream.flush()]) == codes) > 0.999  # flush has reset it
    decoder = codec.stream_decoder()
    decoder.feed(codes[:9])
    other = decoder.copy()
    assert np.array_equal(decoder.feed(codes[9:12]), other.feed(codes[9:12]))


def test_the_state_does_not_grow(codec: Codec, codes: np.ndarray) -> None:
    def held(stream: object) -> int:
        state = stream.state  # type: ignore[attr-defined]
        tensors = [*state.carried.values(), *(t for past in state.pasts for t in (past.key, past.value))]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    for _ in range(2):
        decoder.feed(encoder.feed(WAVE))
    after = held(encoder), held(decoder)
    for _ in range(3):
        decoder.feed(encoder.feed(WAVE))
    assert held(encoder) <= 1.05 * after[0]
    assert held(decoder) <= 1.05 * after[1]
    assert max(after) < 4 * 2**20


@pytest.mark.parametrize("days", [0, 1, 30])
def test_a_stream_does_not_drift(codec: Codec, codes: np.ndarray, days: int) -> None:
    encoder, decoder = codec.stream_encoder(np.int64(1)), codec.stream_decoder()
    expected = decoder.feed(codes)
    decoder.reset()
    encoder.state.frames = decoder.state.frames = days * 24 * 3600 * 25 // 2
    found = np.concatenate([encoder.feed(WAVE), encoder.flush()])
    assert np.mean(found == codes) > 0.999
    error = np.abs(decoder.feed(codes) - expected).max()
    assert error < 1e-4 * np.abs(expected).max()


def test_what_cannot_be_fed(codec: Codec, small_model: Path) -> None:
    with pytest.raises(UnsupportedAudio, match="float64"):
        codec.stream_encoder().feed(np.zeros(5))
    with pytest.raises(UnsupportedAudio, match="fed Tensor; expected a NumPy array"):
        codec.stream_encoder().feed(torch.zeros(5))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedAudio, match=r"\[5\]"):
        codec.stream_encoder(2).feed(np.zeros(5, np.float32))
    with pytest.raises(NonFiniteAudio):
        codec.stream_encoder().feed(np.full(5, np.nan, np.float32))
    with pytest.raises(BadCodes, match=r"\[2, 15\]"):
        codec.stream_decoder().feed(np.zeros((2, 15), np.int16))
    with pytest.raises(BadCodes, match="-1"):
        codec.stream_decoder().feed(np.full((2, 16), -1, np.int16))
    full = Codec.load(str(small_model), device="cpu", precision="fp32", attention="full")
    with pytest.raises(SettingsError, match="window"):
        full.stream_encoder()


def test_after_an_overflow_a_resampled_stream_is_over(codec: Codec) -> None:
    """soxr holds the loud samples already; at 24 kHz the stream goes on, see test_overflow."""
    stream = codec.stream_encoder(rate=16_000)
    stream.feed(WAVE[:8000])
    with pytest.raises(NonFiniteAudio, match="overflows"):
        stream.feed(WAVE[:8000] * np.float32(1e25))
    for again in (lambda: stream.feed(WAVE[:8000]), stream.flush):
        with pytest.raises(NonFiniteAudio, match=r"ended with a piece that failed; reset\(\)"):
            again()
    stream.reset()
    fresh = codec.stream_encoder(rate=16_000)
    assert np.array_equal(stream.feed(WAVE[:8000]), fresh.feed(WAVE[:8000]))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), KeyboardInterrupt()])
def test_a_piece_that_fails_midway_can_be_fed_again(codec: Codec, codes: np.ndarray, error: BaseException) -> None:
    """Its first half would be in the state twice."""

    def fails(stream: Any, after: int) -> None:
        step, calls = stream._step, []

        def stops(piece: torch.Tensor) -> torch.Tensor:
            calls.append(piece)
            if len(calls) > after:
                raise error
            return step(piece)

        stream._step = stops

    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    for stream, whole in ((encoder, WAVE), (decoder, codes)):
        third = len(whole) // 3
        found = [stream.feed(whole[:third])]
        fails(stream, after=1)
        with pytest.raises(type(error)):
            stream.feed(whole[third:])
        del stream._step
        found += [stream.feed(whole[third:]), stream.flush()]
        fresh = codec.stream_encoder() if stream is encoder else codec.stream_decoder()
        expected = [fresh.feed(whole[:third]), fresh.feed(whole[third:]), fresh.flush()]
        assert np.array_equal(np.concatenate(found), np.concatenate(expected))


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU does not compute bf16")
def test_half_precision_streams_too(small_model: Path) -> None:
    codec = Codec.load(str(small_model), device="cpu", precision="bf16", attention="window")
    stream = codec.stream_encoder()
    found = np.concatenate([stream.feed(WAVE[:30_000]), stream.feed(WAVE[30_000:60_000]), stream.flush()])
    wave = codec.stream_decoder().feed(found)
    assert torch.isfinite(torch.from_numpy(wave)).all()
    assert wave.shape == (len(found) * FRAME_SAMPLES,)
