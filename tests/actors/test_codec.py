"""The contract of Codec: what it gives back, what that depends on and what not, what it refuses."""

import contextlib
import hashlib
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from actors.codec import Codec
from actors.contract import FRAME_SAMPLES, frame_count
from actors.device import cpu_has_bf16
from actors.pools.arrow import to_pcm16
from actors.qwen import load_network, load_upstream
from pipeline.errors import (
    BadCodes,
    DeviceError,
    DeviceOutOfMemory,
    ModelError,
    NonFiniteAudio,
    SettingsError,
    UnsupportedAudio,
)
from tests.helpers.signals import decibels, hard_cases, noise, padded, random_codes

EDGES = (0, 1, 1919, 1920, 1921, 3 * 1920)
HAS_BF16 = cpu_has_bf16()


@pytest.fixture(scope="module")
def codec(small_model: Path) -> Codec:
    return Codec.load(str(small_model), device="cpu")


@pytest.fixture(scope="module")
def batching(small_model: Path) -> Codec:
    """The way of a GPU, on the CPU: static batches of tiles with halos."""
    return Codec.load(str(small_model), device="cpu", tile_s=0.96, tile_batch=3)


@pytest.fixture(scope="module")
def upstream_codes(small_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    tokenizer = load_upstream(str(small_model))
    return lambda wave: tokenizer.encode([padded(wave)], sr=24_000).audio_codes[0].numpy()


@pytest.fixture(scope="module")
def upstream_wave(small_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    tokenizer = load_upstream(str(small_model))
    return lambda codes: tokenizer.decode([{"audio_codes": codes.astype(np.int64)}])[0][0]


@pytest.mark.parametrize("samples", EDGES)
def test_lengths_and_types(codec: Codec, samples: int) -> None:
    (codes,) = codec.encode([noise(samples)])
    assert codes.shape == (frame_count(samples), 16)
    assert codes.dtype == np.int16
    (wave,) = codec.decode([codes])
    assert wave.shape == (frame_count(samples) * FRAME_SAMPLES,)
    assert wave.dtype == np.float32


def test_nothing_at_all(codec: Codec) -> None:
    assert codec.encode([]) == []
    assert codec.decode([]) == []


def test_what_it_says_of_itself(codec: Codec, small_model: Path) -> None:
    assert (codec.sample_rate, codec.frame_samples, codec.frame_rate, codec.num_codebooks) == (24_000, 1920, 12.5, 16)
    assert codec.codebook_size == 256
    assert codec.fingerprint == hashlib.sha256((small_model / "model.safetensors").read_bytes()).hexdigest()
    assert (codec.device.type, codec.precision, codec.attention) == ("cpu", "fp32", "full")


@pytest.mark.parametrize("samples", [*EDGES[1:], 24_000, 200_001])
@pytest.mark.parametrize("way", ["codec", "batching"])
def test_codes_are_upstreams_of_the_padded_clip(
    request: pytest.FixtureRequest, upstream_codes: Callable[[np.ndarray], np.ndarray], way: str, samples: int
) -> None:
    wave = noise(samples, seed=samples)
    (codes,) = request.getfixturevalue(way).encode([wave])
    same = codes == upstream_codes(wave)
    assert same.mean() >= 0.999
    assert same[:, 0].all()


@pytest.mark.parametrize("frames", [1, 26, 130])
@pytest.mark.parametrize("way", ["codec", "batching"])
def test_waves_are_upstreams_up_to_300_frames(
    request: pytest.FixtureRequest, upstream_wave: Callable[[np.ndarray], np.ndarray], way: str, frames: int
) -> None:
    codes = random_codes(frames)
    (wave,) = request.getfixturevalue(way).decode([codes])
    assert decibels(wave, upstream_wave(codes)) >= 90


def test_long_codes_decode_as_the_whole_sequence_does(codec: Codec, small_model: Path) -> None:
    """Upstream itself cuts at 300 frames; its network, given everything, does not."""
    codes = random_codes(330)
    with torch.inference_mode():
        whole = load_network(small_model).decoder(torch.from_numpy(codes.astype(np.int64)).T[None]).flatten().numpy()
    assert decibels(codec.decode([codes])[0], whole) >= 90


@pytest.mark.parametrize("way", ["codec", "batching"])
def test_waves_rounded_by_the_engine_are_those_rounded_later(request: pytest.FixtureRequest, way: str) -> None:
    engine: Codec = request.getfixturevalue(way)
    codes = [random_codes(frames, seed=frames) for frames in (30, 0, 1)]
    for wave, pcm in zip(engine.decode(codes), engine.decode(codes, pcm16=True), strict=True):
        assert pcm.dtype == np.int16
        assert np.array_equal(pcm, to_pcm16(wave))


@pytest.mark.parametrize("frames", [1, 2, 7, 13])
def test_recordings_of_one_length_run_together_as_if_each_were_alone(codec: Codec, frames: int) -> None:
    waves = [noise(1920 * frames - index, seed=index) for index in range(9)]
    codes = codec.encode(waves)
    for wave, found in zip(waves, codes, strict=True):
        assert np.array_equal(found, codec.encode([wave])[0])
    for one, wave in zip(codes, codec.decode(codes), strict=True):
        if torch.backends.mkldnn.is_available():
            assert np.array_equal(wave, codec.decode([one])[0])
        else:
            np.testing.assert_allclose(wave, codec.decode([one])[0], atol=1e-5)


def test_batch_mates_and_order_change_nothing(codec: Codec, batching: Codec) -> None:
    waves = [noise(samples, seed=index) for index, samples in enumerate((30_000, 1, 0, 77_777, 1921, 48_000, 30_001))]
    alone = [codec.encode([wave])[0] for wave in waves]
    order = [5, 2, 0, 6, 4, 1, 3]
    together = codec.encode([waves[index] for index in order])
    assert all(np.array_equal(codes, alone[index]) for codes, index in zip(together, order, strict=True))
    tiled = batching.encode([waves[index] for index in order])
    same = [codes == alone[index] for codes, index in zip(tiled, order, strict=True)]
    assert np.concatenate(same).mean() >= 0.9999


@pytest.mark.parametrize(("tile_s", "tile_batch"), [(0.08, None), (1.0, None), (10.0, None), (0.08, 2), (10.0, 2)])
def test_tiles_change_nothing(codec: Codec, small_model: Path, tile_s: float, tile_batch: int | None) -> None:
    waves = [noise(150_000), noise(9_000, seed=1)]
    other = Codec.load(str(small_model), device="cpu", tile_s=tile_s, tile_batch=tile_batch)
    codes, again = codec.encode(waves), other.encode(waves)
    assert np.mean(np.concatenate(codes) == np.concatenate(again)) >= 0.9999
    for wave, same in zip(codec.decode(codes), other.decode(codes), strict=True):
        assert decibels(same, wave) >= 90


@given(st.integers(FRAME_SAMPLES, 7 * FRAME_SAMPLES), st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_what_comes_later_never_changes_earlier_codes(codec: Codec, changed: int, seed: int) -> None:
    wave = noise(8 * FRAME_SAMPLES)
    other = np.concatenate((wave[:changed], noise(len(wave) - changed, seed)))
    before = changed // FRAME_SAMPLES
    first, second = codec.encode([wave, other])
    assert np.array_equal(first[:before], second[:before])
    early, late = codec.decode([first, second])
    assert decibels(late[: before * FRAME_SAMPLES], early[: before * FRAME_SAMPLES]) >= 90


def test_input_is_not_changed_and_may_be_read_only(codec: Codec) -> None:
    wave = noise(10_000)
    wave.flags.writeable = False
    before = wave.copy()
    (codes,) = codec.encode([wave[::-1]])
    codes.flags.writeable = False
    assert np.isfinite(codec.decode([codes])[0]).all()
    assert np.array_equal(wave, before)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.skipif(not HAS_BF16, reason=""))])
def test_hard_signals_stay_finite(small_model: Path, precision: str) -> None:
    codec = Codec.load(str(small_model), device="cpu", precision=precision)
    cases = hard_cases()
    for codes, wave in zip(codec.encode(list(cases.values())), cases.values(), strict=True):
        assert codes.shape == (frame_count(len(wave)), 16)
        assert codes.min() >= 0
        assert codes.max() < codec.codebook_size
        (decoded,) = codec.decode([codes])
        assert np.abs(decoded).max() <= 1


@pytest.mark.parametrize(
    ("wave", "error", "said"),
    [
        (np.zeros(10), UnsupportedAudio, "float64 [10]"),
        (np.zeros((2, 10), np.float32), UnsupportedAudio, "float32 [2, 10]"),
        (np.zeros(10, np.int16), UnsupportedAudio, "int16 [10]"),
        ([0.0], UnsupportedAudio, "list"),
        (
            torch.zeros(10),
            UnsupportedAudio,
            "Tensor; expected a NumPy array float32 [samples] at 24000 Hz: give its .cpu().numpy().",
        ),
        (np.append(np.zeros(100_000, np.float32), np.float32(np.nan)), NonFiniteAudio, "NaN"),
        (np.full(10, np.inf, np.float32), NonFiniteAudio, "infinity"),
    ],
)
def test_refused_waves(codec: Codec, wave: np.ndarray, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        codec.encode([noise(10), wave])
    assert said in str(raised.value)
    assert "wave 1" in str(raised.value)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.zeros((3, 15), np.int16), "int16 [3, 15]"),
        (np.zeros(16, np.int16), "int16 [16]"),
        (np.zeros((3, 16), np.float32), "float32 [3, 16]"),
        (np.full((3, 16), 256, np.int16), "from 256 to 256"),
        (np.full((3, 16), -1, np.int16), "from -1 to -1"),
        ([[0] * 16], "list"),
        (
            torch.zeros(3, 16, dtype=torch.int16),
            "Tensor; expected a NumPy array int16 [frames, 16] in 0..255: give its .cpu().numpy().",
        ),
    ],
)
def test_refused_codes(codec: Codec, codes: np.ndarray, said: str) -> None:
    with pytest.raises(BadCodes) as raised:
        codec.decode([codes])
    assert said in str(raised.value)
    assert "0..255" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"device": "tpu"}, DeviceError, "auto, cpu, cuda"),
        ({"precision": "fp8"}, DeviceError, "fp32, fp16, bf16"),
        ({"precision": "fp16"}, DeviceError, "Choose fp32 or bf16"),
        ({"attention": "flash"}, SettingsError, "full, window"),
        ({"accelerate": "magic"}, SettingsError, "graphs"),
        ({"accelerate": "graphs"}, DeviceError, "only CUDA"),
        ({"parts": "half"}, SettingsError, "encode"),
        ({"tile_s": 0.0}, SettingsError, "more than 0"),
        ({"tile_batch": -1}, SettingsError, "more than 0"),
        ({"threads": 0}, SettingsError, "more than 0"),
        ({"threads": "2"}, SettingsError, "threads is '2'; it must be a whole number, more than 0"),
        ({"threads": True}, SettingsError, "threads is True"),
        ({"tile_s": float("nan")}, SettingsError, "tile_s is nan; it must be a number"),
        ({"tile_s": float("inf")}, SettingsError, "tile_s is inf"),
        ({"tile_batch": 1.5}, SettingsError, "tile_batch is 1.5"),
    ],
)
def test_refused_options(small_model: Path, options: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        Codec.load(str(small_model), **{"device": "cpu", **options})  # type: ignore[arg-type]
    assert said in str(raised.value)


def test_one_array_is_no_list(codec: Codec) -> None:
    wave = noise(3_000)
    (codes,) = codec.encode([wave])
    for call, one, error in ((codec.encode, wave, UnsupportedAudio), (codec.decode, codes, BadCodes)):
        shape = re.escape(str([*one.shape]))
        with pytest.raises(error, match=rf"code was given one ndarray of shape {shape}; expected a list .*: \[array\]"):
            call(one)
        with pytest.raises(error, match=rf"one Tensor of shape {shape}; .* list .*: \[tensor\.cpu\(\)\.numpy\(\)\]"):
            call(torch.from_numpy(one))
        assert np.array_equal(call(one[None])[0], call([one])[0])  # an array of them is one
    with pytest.raises(UnsupportedAudio, match="agreement was given one ndarray"):
        codec.agreement(wave)


def test_paths_devices_and_generators_are_taken(codec: Codec, small_model: Path) -> None:
    other = Codec.load(small_model, torch.device("cpu"))
    assert (other.model, other.device.type) == (str(small_model), "cpu")
    waves = [noise(5_000), noise(3_000)]
    codes = codec.encode(waves)
    assert all(map(np.array_equal, other.encode(wave for wave in waves), codes))
    assert all(map(np.array_equal, other.decode(one for one in codes), codec.decode(codes)))
    assert other.agreement(wave for wave in waves).tolist() == [1.0] * 16


def test_what_it_is_shown_as(codec: Codec, small_model: Path) -> None:
    assert repr(codec) == f"Codec({str(small_model)!r}, 'cpu', 'fp32', 'full')"
    assert codec in {codec}


@pytest.mark.parametrize("parts", ["all", "encode", "decode"])
def test_a_codec_is_pickled_as_what_loads_it(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: str
) -> None:
    model = shutil.copytree(small_model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    codec = Codec.load("model", "cpu", "auto", "window", tile_s=0.96, tile_batch=3, parts=parts)
    pickled = pickle.dumps(codec)
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    for name in ("fingerprint", "device", "precision", "attention", "options"):
        assert getattr(again, name) == getattr(codec, name)
    assert (again.encoding is None, again.decoding is None) == (parts == "decode", parts == "encode")
    if parts == "all":
        assert np.array_equal(again.encode([noise(5_000)])[0], codec.encode([noise(5_000)])[0])
    weights = load_file(model / "model.safetensors")
    save_file(weights | {"more": torch.zeros(1)}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="other weights than the codec that was pickled"):
        pickle.loads(pickled)


def test_half_of_a_codec(small_model: Path) -> None:
    encoder, decoder = (Codec.load(str(small_model), device="cpu", parts=part) for part in ("encode", "decode"))
    codes = encoder.encode([noise(5_000)])
    assert decoder.decode(codes)[0].shape == (3 * FRAME_SAMPLES,)
    with pytest.raises(SettingsError, match="parts='encode'"):
        encoder.decode(codes)
    with pytest.raises(SettingsError, match="parts='decode'"):
        decoder.encode([noise(10)])


def test_two_of_one_checkpoint_share_nothing(codec: Codec, small_model: Path) -> None:
    wave = noise(20_000)
    before = codec.encode([wave])[0]
    other = Codec.load(str(small_model), device="cpu")
    assert other.encoding is not None
    other.encoding[0].quantizer.chains[1].entries[0].zero_()
    assert not np.array_equal(other.encode([wave])[0], before)
    assert np.array_equal(codec.encode([wave])[0], before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_files_in_half_precision(small_model: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    weights = load_file(small_model / "model.safetensors")
    save_file({name: one.to(dtype) for name, one in weights.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((small_model / name).read_bytes())
    codec = Codec.load(str(tmp_path), device="cpu")
    wave = noise(40_000)
    expected = load_upstream(str(tmp_path)).encode([padded(wave)], sr=24_000).audio_codes[0].numpy()
    (codes,) = codec.encode([wave])
    assert np.mean(codes == expected) >= 0.999
    assert codec.encoding is not None
    assert all(entry.dtype == torch.float32 for chain in codec.encoding[0].quantizer.chains for entry in chain.entries)


def test_agreement_with_fp32(codec: Codec, small_model: Path) -> None:
    assert codec.agreement([noise(30_000)]).tolist() == [1.0] * 16
    assert np.isnan(codec.agreement([])).all()
    if HAS_BF16:
        rounded = Codec.load(str(small_model), device="cpu", precision="bf16")
        share = rounded.agreement([noise(60_000), noise(20_000, seed=1)])
        assert share.shape == (16,)
        assert 0.7 <= share[0] <= 1
        assert share.mean() < 1  # it was bf16 that was compared


def test_memory_of_the_process(codec: Codec) -> None:
    figures = codec.memory()
    assert set(figures) == {"host_rss", "host_peak_rss"}
    assert 100e6 < figures["host_rss"] <= figures["host_peak_rss"] < 50e9


def scarce(codec: Codec, fits: int, error: type[RuntimeError] = torch.OutOfMemoryError, says: str = "") -> list[int]:
    """Make the encoder's device hold no more than `fits` tiles at once; returns the batches that it was asked for."""
    assert codec.encoding is not None
    tiled, asked = codec.encoding[1], []
    plain = tiled.stack

    def stack(rows: torch.Tensor, carried: object = None) -> torch.Tensor:
        asked.append(len(rows))
        if len(rows) > fits:
            raise error(f"{says} no room for {len(rows)}")
        return plain(rows, None)

    tiled.stack = stack
    return asked


def test_out_of_memory_halves_the_batch_and_remembers(codec: Codec, small_model: Path) -> None:
    waves = [noise(60_000), noise(30_000, seed=1)]
    small = Codec.load(str(small_model), device="cpu", tile_s=0.32, tile_batch=8)
    asked = scarce(small, fits=2)
    same = np.concatenate(small.encode(waves)) == np.concatenate(codec.encode(waves))
    assert same.mean() >= 0.9999
    assert asked[:3] == [8, 4, 2]
    asked.clear()
    small.encode(waves)
    assert set(asked) == {2}


@pytest.mark.parametrize(
    ("error", "says", "meant"),
    [
        (torch.AcceleratorError, "CUDA error: out of memory", True),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        (RuntimeError, "Triton Error [CUDA]: out of memory", True),
        (torch.AcceleratorError, "CUDA error: an illegal memory access was encountered", False),
        (RuntimeError, "GET was unable to find an engine to execute this computation", False),
    ],
)
def test_libraries_run_out_of_memory_too(small_model: Path, error: type[RuntimeError], says: str, meant: bool) -> None:
    codec = Codec.load(small_model, device="cpu", tile_s=0.32, tile_batch=4)
    asked = scarce(codec, 2, error, says)
    with contextlib.nullcontext() if meant else pytest.raises(error, match=says):
        codec.encode([noise(60_000)])
    assert asked[:2] == ([4, 2] if meant else [4])


def test_cudnn_that_finds_no_engine_lacks_memory_where_pytorch_found_none(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = Codec.load(small_model, device="cpu", tile_s=0.32, tile_batch=4)
    asked = scarce(codec, 2, RuntimeError, "GET was unable to find an engine to execute this computation")
    monkeypatch.setattr("actors.tiling.run_tiles.times_full", lambda device: len(asked))
    codec.encode([noise(60_000)])
    assert asked[:2] == [4, 2]


def test_not_even_one_tile_fits(small_model: Path) -> None:
    codec = Codec.load(str(small_model), device="cpu", tile_s=0.32, tile_batch=4)
    asked = scarce(codec, fits=0)
    with pytest.raises(DeviceOutOfMemory, match="Not even one tile"):
        codec.encode([noise(60_000)])
    assert asked == [4, 2, 1]
    asked.clear()
    with pytest.raises(DeviceOutOfMemory):  # something else than the tiles is too large: they are as before
        codec.encode([noise(60_000)])
    assert asked == [4, 2, 1]
    assert codec.decode([random_codes(2)])[0].shape == (2 * FRAME_SAMPLES,)  # the other half goes on


def test_tiles_beyond_32_bits_are_refused(small_model: Path) -> None:
    with pytest.raises(SettingsError, match=r"tile_batch 1000 of tiles of 125 frames .* Lower tile_batch or tile_s"):
        Codec.load(str(small_model), tile_s=10.0, tile_batch=1000)


@pytest.mark.parametrize("default", ["float16", "bfloat16", "float64", "meta"])
def test_the_callers_defaults_change_nothing(small_model: Path, default: str) -> None:
    """Samples were rounded to the default dtype on their way to the network."""
    waves = [noise(9000), noise(4000)]
    exact = Codec.load(str(small_model), device="cpu", precision="fp32")
    codes = exact.encode(waves)
    decoded = exact.decode(codes)
    try:
        torch.set_default_device("meta") if default == "meta" else torch.set_default_dtype(getattr(torch, default))
        for codec in (exact, Codec.load(str(small_model), device="cpu", precision="fp32")):
            assert all(map(np.array_equal, codec.encode(waves), codes))
            assert all(map(np.array_equal, codec.decode(codes), decoded))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
