"""The codec on a GPU: a CPU's codes, any company, threads, streams, too little memory, overflow, a caller's settings.

Imports the engine alone, which runs where nothing but PyTorch and transformers is installed.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.bench.out_of_memory import out_of_memory
from actors.bench.subject import ON_CUDA, Subject
from actors.codec import Codec
from actors.errors import NonFiniteAudio
from actors.network.pack import BLOCK_FRAMES
from tests.helpers.changed import ENTRY, LOUD, changed
from tests.helpers.signals import decibels, noise, random_codes

pytestmark = pytest.mark.gpu
WAVE = noise(24_000 * 14 - 777, seed=5)  # longer than the window of 10 s, not whole frames


@pytest.mark.parametrize("accelerate", ["none", "graphs"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_gives_the_cpus_codes(small_model: Path, accelerate: str, precision: str) -> None:
    waves = [noise(samples, seed=samples) for samples in (1, 30_000, 0, 200_000, 1921, 777_777)]
    cpu = Codec.load(str(small_model), device="cpu")
    gpu = Codec.load(str(small_model), "cuda", precision, accelerate=accelerate)
    codes, found = cpu.encode(waves), gpu.encode(waves)
    assert [len(one) for one in found] == [len(one) for one in codes]
    same = np.concatenate(found) == np.concatenate(codes)
    assert same[:, 0].mean() >= (0.99 if precision == "fp32" else 0.8)
    for ours, theirs in zip(gpu.decode(codes), cpu.decode(codes), strict=True):
        assert len(theirs) == 0 or decibels(ours, theirs) >= (60 if precision == "fp32" else 25)
    assert gpu.memory()["device_peak"] > 0


@pytest.mark.parametrize("accelerate", ["none", "graphs"])
@pytest.mark.parametrize(("precision", "least"), [("fp32", 90), ("fp16", 40), ("bf16", 25)])
def test_a_gpu_decodes_as_a_cpu(precision: str, least: float, accelerate: str) -> None:
    """With the demo codec, whose layers have other widths."""
    codes = [random_codes(frames, seed=frames, size=512) for frames in (1, 40, 41, 90, *[50] * 30)]
    cpu, gpu = Codec.load("demo", "cpu"), Codec.load("demo", "cuda", precision, accelerate=accelerate)
    for ours, theirs in zip(gpu.decode(codes), cpu.decode(codes), strict=True):
        assert decibels(ours, theirs) >= least


@pytest.mark.parametrize("block", [64, 2048])
@pytest.mark.parametrize("attention", ["full", "window"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_company_and_order_change_no_code_on_a_gpu(
    small_model: Path, precision: str, attention: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few frames to a block, some calls have as many as one graph holds, or more."""
    monkeypatch.setitem(BLOCK_FRAMES, "cuda", block)
    waves = [noise(samples, seed=samples) for samples in (1, 30_000, 200_000, 1921, 777_777, 300_000)]
    codec = Codec.load(str(small_model), "cuda", precision, attention)
    together, turned = codec.encode(waves), codec.encode(waves[::-1])[::-1]
    for wave, one, other in zip(waves, together, turned, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, codec.encode([wave])[0])


def test_two_codecs_share_a_gpu(small_model: Path) -> None:
    first, second = (Codec.load(str(small_model), "cuda") for _ in range(2))
    codes = random_codes(60)
    assert np.array_equal(first.decode([codes])[0], second.decode([codes])[0])


def test_threads_share_a_codec_on_a_gpu(small_model: Path) -> None:
    """A pool has two calls in flight: the next one's samples are laid out while this one computes."""
    codec = Codec.load(small_model, "cuda", "fp16")
    calls = [[noise(20_000 + 7_000 * number, seed=number), noise(90_000, seed=100 + number)] for number in range(12)]
    expected = [codec.encode(waves) for waves in calls]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(codec.encode, calls))
        played = list(pool.map(codec.decode, expected))
    for ours, theirs in zip(found, expected, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    for ours, codes in zip(played, expected, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, codec.decode(codes), strict=True))


@pytest.mark.parametrize("accelerate", ["none", "graphs"])
def test_device_memory_that_runs_out_shrinks_the_batch(small_model: Path, accelerate: str) -> None:
    size = ON_CUDA._replace(compared_s=130, batches=(256,))  # else what other tests left free is room enough
    found = out_of_memory(Subject(small_model, torch.device("cuda"), ("fp32",)), size, accelerate)
    assert found["tiles_before"] == 256
    assert found["tiles_after"] in (1, 2, 4, 8, 16, 32, 64, 128)
    assert min(found["equal"], found["equal_after"]) >= 0.999


def test_a_stream_gives_the_codes_of_a_call(small_model: Path) -> None:
    codec = Codec.load(str(small_model), "cuda", "fp32", "window", accelerate="none")
    wave, stream = noise(24_000 * 5), codec.stream_encoder()
    pieces = [stream.feed(wave[start : start + 5_000]) for start in range(0, len(wave), 5_000)]
    assert (np.concatenate([*pieces, stream.flush()]) == codec.encode([wave])[0]).mean() >= 0.999


@pytest.mark.parametrize("accelerate", ["none", "graphs"])
def test_a_gpu_computes_what_overflows_in_fp32(small_model: Path, tmp_path: Path, accelerate: str) -> None:
    model = changed(small_model, tmp_path / "loud", LOUD, lambda weight: weight.mul_(3e4))
    codec = Codec.load(model, "cuda", "fp16", "window", accelerate=accelerate)
    exact = Codec.load(model, "cuda", "fp32", "window", accelerate="none")
    loud, quiet = noise(5760), 1e-3 * noise(3000)
    codes = codec.encode([quiet, loud, quiet])
    assert codec.overflows == 1
    assert np.array_equal(codes[1], exact.encode([loud])[0])
    assert np.array_equal(codes[0], codec.encode([quiet])[0])
    stream = codec.stream_encoder()
    with pytest.raises(NonFiniteAudio, match="encode overflows in fp16"):
        stream.feed(loud)
    assert len(stream.feed(1e-3 * noise(3840))) == 2
    with pytest.raises(NonFiniteAudio, match="wave 1 holds NaN"):
        codec.encode([quiet, np.full(30, np.nan, np.float32)])


@pytest.mark.parametrize("accelerate", ["none", "graphs"])
def test_a_gpu_decodes_what_overflows_in_fp32(small_model: Path, tmp_path: Path, accelerate: str) -> None:
    model = changed(small_model, tmp_path / "huge", ENTRY, lambda entries: entries[7].mul_(1e7))
    codec = Codec.load(model, "cuda", "fp16", accelerate=accelerate)
    fine, huge = np.minimum(random_codes(4), 5), np.full((3, 16), 7, np.int16)
    waves = codec.decode([fine, huge, fine])
    assert codec.overflows == 1
    assert np.array_equal(waves[1], Codec.load(model, "cuda", "fp32", accelerate="none").decode([huge])[0])
    assert np.array_equal(waves[0], waves[2])
    rounded = codec.decode([fine, huge, fine], pcm16=True)
    for pcm, wave in zip(rounded, waves, strict=True):
        assert np.array_equal(pcm, np.rint(32767 * wave).astype(np.int16))


def test_defaults_of_the_caller_change_nothing_on_a_gpu(small_model: Path) -> None:
    """Autocast, a default device and a default dtype: a notebook may have set them all."""

    def results() -> list[np.ndarray]:
        loaded = Codec.load(small_model, "cuda", "fp32", "window")
        stream, (codes,) = loaded.stream_encoder(), loaded.encode([WAVE])
        live = loaded.stream_decoder().feed(codes[:40])
        return [codes, *loaded.decode([codes]), np.concatenate([stream.feed(WAVE), stream.flush()]), live]

    expected = results()
    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.float16)
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16), torch.autocast("cpu", dtype=torch.bfloat16):
            found = results()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_streams_on_a_gpu_as_a_call(small_model: Path, precision: str) -> None:
    codec = Codec.load(small_model, "cuda", precision, "window")
    stream, (codes,) = codec.stream_encoder(), codec.encode([WAVE])
    found = np.concatenate([*(stream.feed(piece) for piece in np.array_split(WAVE, 50)), stream.flush()])
    assert np.mean(found[:, 0] == codes[:, 0]) > 0.8
    stream_decoder, (whole,) = codec.stream_decoder(), codec.decode([codes])
    played = np.concatenate([stream_decoder.feed(codes[low : low + 7]) for low in range(0, len(codes), 7)])
    assert decibels(played, whole) > 15
