"""Which shapes are captured, and what happens where one cannot be; on a GPU, the graphs themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actors.bench.out_of_memory import out_of_memory
from actors.bench.subject import ON_CUDA, Subject
from actors.codec import Codec
from actors.tiling.cuda_graphs import MAX_GRAPHS, Graphs, capture, choose_acceleration
from actors.tiling.stack import Stack
from pipeline.errors import DeviceError
from tests.helpers.signals import decibels, noise, random_codes

CPU = torch.device("cpu")


def double(rows: torch.Tensor, carried: object = None) -> torch.Tensor:
    return rows * 2


def counting(captured: list[torch.Size]) -> Graphs:
    """Graphs whose capture only notes what it was asked for."""

    def note(stack: Stack, example: torch.Tensor) -> Stack:
        captured.append(example.shape)
        return stack

    return Graphs(double, note)


def test_each_shape_is_captured_once_and_their_number_is_bounded() -> None:
    captured: list[torch.Size] = []
    graphs = counting(captured)
    for _ in range(2):
        for size in range(1, MAX_GRAPHS + 3):
            assert torch.equal(graphs(torch.ones(size)), 2 * torch.ones(size))
    assert captured == [torch.Size([size]) for size in range(1, MAX_GRAPHS + 1)]
    graphs.forget()
    graphs(torch.ones(9))
    assert captured[-1] == torch.Size([9])


def test_carrying_is_never_captured() -> None:
    captured: list[torch.Size] = []
    counting(captured)(torch.ones(3), {})
    assert captured == []


@pytest.mark.parametrize("error", [DeviceError, torch.OutOfMemoryError])
def test_a_capture_that_fails_is_not_hidden(error: type[Exception]) -> None:
    def refuse(stack: Stack, example: torch.Tensor) -> Stack:
        raise error("full, or not permitted while capturing")

    with pytest.raises(error):
        Graphs(double, refuse)(torch.ones(3))


@pytest.mark.gpu
def test_what_cannot_be_captured_ends_with_a_sentence() -> None:
    def waits(rows: torch.Tensor, carried: object) -> torch.Tensor:
        return rows * rows.sum().item()

    with pytest.raises(DeviceError, match=r"could not be captured.*Set accelerate"):
        capture(waits, torch.ones(3, device="cuda"))


@pytest.mark.parametrize(("name", "chosen"), [("auto", "none"), ("none", "none")])
def test_acceleration_of_a_cpu(name: str, chosen: str) -> None:
    assert choose_acceleration(name, CPU) == chosen
    with pytest.raises(DeviceError, match="only CUDA"):
        choose_acceleration("graphs", CPU)


@pytest.mark.gpu
def test_a_graph_replays_on_new_input() -> None:
    layer = torch.nn.Conv1d(3, 5, 3).cuda().requires_grad_(False)
    replay = capture(lambda rows, carried: layer(rows), torch.zeros(2, 3, 9, device="cuda"))
    for seed in range(3):
        rows = torch.randn(2, 3, 9, device="cuda", generator=torch.Generator("cuda").manual_seed(seed))
        torch.testing.assert_close(replay(rows, None), layer(rows))


@pytest.mark.gpu
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


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["full", "window"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_company_and_order_change_no_code_on_a_gpu(small_model: Path, precision: str, attention: str) -> None:
    waves = [noise(samples, seed=samples) for samples in (1, 30_000, 200_000, 1921, 777_777, 300_000)]
    codec = Codec.load(str(small_model), "cuda", precision, attention)
    together, turned = codec.encode(waves), codec.encode(waves[::-1])[::-1]
    for wave, one, other in zip(waves, together, turned, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, codec.encode([wave])[0])


@pytest.mark.gpu
def test_two_codecs_share_a_gpu(small_model: Path) -> None:
    first, second = (Codec.load(str(small_model), "cuda") for _ in range(2))
    codes = random_codes(60)
    assert np.array_equal(first.decode([codes])[0], second.decode([codes])[0])


@pytest.mark.gpu
def test_device_memory_that_runs_out_shrinks_the_batch(small_model: Path) -> None:
    size = ON_CUDA._replace(compared_s=130, batches=(64,))
    found = out_of_memory(Subject(small_model, torch.device("cuda"), ("fp32",)), size)
    assert found["tiles_before"] == 64
    assert found["tiles_after"] in (1, 2, 4, 8, 16, 32)
    assert min(found["equal"], found["equal_after"]) >= 0.999


@pytest.mark.gpu
def test_a_stream_gives_the_codes_of_a_call(small_model: Path) -> None:
    codec = Codec.load(str(small_model), "cuda", "fp32", "window", accelerate="none")
    wave, stream = noise(24_000 * 5), codec.stream_encoder()
    pieces = [stream.feed(wave[start : start + 5_000]) for start in range(0, len(wave), 5_000)]
    assert (np.concatenate([*pieces, stream.flush()]) == codec.encode([wave])[0]).mean() >= 0.999


@pytest.mark.gpu
def test_a_second_gpu_of_one_process_replays_its_own_graph() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    for number in range(2):
        with torch.cuda.device(number):
            rows = torch.ones(3, device=f"cuda:{number}")
            replay = capture(double, rows)
            assert replay(rows + number, None).tolist() == [2.0 + 2 * number] * 3
