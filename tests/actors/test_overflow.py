"""Half precision that overflows: the recording is computed again in fp32, and no other one is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import actors.codec
from actors.codec import Codec
from actors.errors import NonFiniteAudio
from actors.pools.arrow import to_pcm16
from tests.helpers.changed import ENTRY, LOUD, changed
from tests.helpers.signals import noise, random_codes


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Codec]:
    """Loads a codec in fp16 on the CPU, which is refused elsewhere: its convolutions are slow."""

    def load(model: Path, tile_batch: int | None = None, attention: str = "full") -> Codec:
        with monkeypatch.context() as patch:
            patch.setattr(actors.codec, "choose_precision", lambda name, device: name)
            return Codec.load(str(model), "cpu", "fp16", attention, tile_s=0.16, tile_batch=tile_batch)

    return load


@pytest.mark.parametrize("tile_batch", [None, 2])
def test_codes_of_what_overflows_are_those_of_fp32(
    small_model: Path, tmp_path: Path, half: Callable[..., Codec], tile_batch: int | None
) -> None:
    codec = half(changed(small_model, tmp_path / "model", LOUD, lambda weight: weight.mul_(3e4)), tile_batch)
    exact = Codec.load(str(codec.folder), "cpu", "fp32")
    loud, quiet = noise(5760), 1e-3 * noise(3000)
    codes = codec.encode([quiet, loud, quiet])
    assert codec.overflows == 1
    assert np.array_equal(codes[1], exact.encode([loud])[0])
    assert np.array_equal(codes[0], codec.encode([quiet])[0])
    codec.encode([loud])
    assert (codec.overflows, list(codec.exact)) == (2, ["encode"])


def test_the_wave_of_codes_that_overflow_is_that_of_fp32(
    small_model: Path, tmp_path: Path, half: Callable[..., Codec]
) -> None:
    codec = half(changed(small_model, tmp_path / "model", ENTRY, lambda entries: entries[7].mul_(1e7)))
    exact = Codec.load(str(codec.folder), "cpu", "fp32")
    fine, huge = np.minimum(random_codes(4), 5), np.full((3, 16), 7, np.int16)
    waves = codec.decode([fine, huge, fine])
    assert codec.overflows == 1
    assert np.array_equal(waves[1], exact.decode([huge])[0])
    assert np.array_equal(waves[0], waves[2])
    rounded = codec.decode([fine, huge, fine], pcm16=True)
    assert codec.overflows == 2
    assert [np.array_equal(pcm, to_pcm16(wave)) for pcm, wave in zip(rounded, waves, strict=True)] == [True] * 3


@pytest.mark.parametrize(("part", "name"), [("encode", LOUD), ("decode", ENTRY)])
def test_what_overflows_in_fp32_is_an_error(small_model: Path, tmp_path: Path, part: str, name: str) -> None:
    model = changed(small_model, tmp_path / "model", name, lambda weight: weight.fill_(torch.inf))
    codec = Codec.load(str(model), "cpu", "fp32")
    item = noise(5760) if part == "encode" else random_codes(3)
    with pytest.raises(NonFiniteAudio, match=f"^{part} overflows in fp32; check the weights of"):
        getattr(codec, part)([item])
    with pytest.raises(NonFiniteAudio, match=f"^{part} of item 1 overflows in fp32; check the weights of"):
        getattr(codec, part)([item[:0], item])


def test_samples_that_overflow_in_fp32_are_told_from_weights(small_model: Path) -> None:
    codec = Codec.load(small_model, "cpu", "fp32")
    with pytest.raises(NonFiniteAudio, match=r"^encode overflows in fp32; its samples reach 3e\+38, expected about 1"):
        codec.encode([np.full(5000, 3e38, np.float32)])


@pytest.mark.parametrize("batch", [1, 2])
def test_a_stream_goes_on_behind_a_piece_that_overflows(small_model: Path, batch: int) -> None:
    """Its state would hold NaN for minutes, and NaN has code 0."""
    codec = Codec.load(small_model, "cpu", "fp32", "window")
    before, after = (noise(length, seed=length) for length in (5000, 9000))
    glitch = noise(60_000)
    glitch[50_000] = 1e30  # the codes of the steps before it are lost with it
    stream = codec.stream_encoder(batch)

    def feed(wave: np.ndarray) -> np.ndarray:
        found = stream.feed(np.tile(wave, (batch, 1)) if batch > 1 else wave)
        return found if batch == 1 else found[-1]

    codes = [feed(before)]
    with pytest.raises(NonFiniteAudio, match=r"encode overflows in fp32; its samples reach 1e\+30, expected about 1"):
        feed(glitch)
    codes.append(feed(after))
    rest = stream.flush()
    codes.append(rest if batch == 1 else rest[-1])
    assert np.array_equal(np.concatenate(codes), codec.encode([np.concatenate([before, after])])[0])


def test_a_stream_in_half_precision_tells_of_an_overflow(
    small_model: Path, tmp_path: Path, half: Callable[..., Codec]
) -> None:
    model = changed(small_model, tmp_path / "model", LOUD, lambda weight: weight.mul_(3e4))
    stream = half(model, None, "window").stream_encoder()
    with pytest.raises(NonFiniteAudio, match=r"encode overflows in fp16; .*, or load the codec with precision='fp32'"):
        stream.feed(noise(5760))
    assert stream.state.frames == 0
    assert len(stream.feed(1e-3 * noise(3840))) == 2


def test_a_stream_of_codes_that_overflow(small_model: Path, tmp_path: Path) -> None:
    model = changed(small_model, tmp_path / "model", ENTRY, lambda entries: entries[7].fill_(torch.inf))
    codec = Codec.load(model, "cpu", "fp32")
    fine, huge = np.minimum(random_codes(4), 5), np.full((3, 16), 7, np.int16)
    stream = codec.stream_decoder()
    wave = [stream.feed(fine)]
    with pytest.raises(NonFiniteAudio, match="decode overflows in fp32; check the weights"):
        stream.feed(huge)
    wave.append(stream.feed(fine))
    assert np.allclose(np.concatenate(wave), codec.decode([np.concatenate([fine, fine])])[0], atol=1e-5)
